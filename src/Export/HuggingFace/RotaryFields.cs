using System.Text.Json;
using SorsaOrt.Ir;

namespace SorsaOrt.Export.HuggingFace;

/// <summary>The rotary settings of config.json: rope_theta and rope_scaling, or rope_parameters of transformers 5.</summary>
internal sealed class RotaryFields
{
    private readonly string _path;
    private readonly JsonElement _root;
    private readonly JsonElement _scaling;
    private readonly string _name;

    /// <summary>Of the object that config.json holds.</summary>
    public RotaryFields(string path, JsonElement root)
    {
        (_path, _root) = (path, root);
        _name = root.TryGetProperty("rope_parameters", out _scaling) ? "rope_parameters" : "rope_scaling";
        if (_name == "rope_scaling" && !root.TryGetProperty(_name, out _scaling))
            _scaling = default;
        if (_scaling.ValueKind is not (JsonValueKind.Object or JsonValueKind.Null or JsonValueKind.Undefined))
            throw Wrong(_name, $"{Json.Shown(_scaling)} is not an object");
    }

    /// <summary>Base of the frequencies; 10000 where none is given.</summary>
    public double Base => IsGiven && _scaling.TryGetProperty("rope_theta", out var inner) ? Real($"{_name}.rope_theta", inner)
        : _root.TryGetProperty("rope_theta", out var outer) ? Real("rope_theta", outer) : 10000;

    private bool IsGiven => _scaling.ValueKind == JsonValueKind.Object;

    /// <summary>How frequencies are stretched.</summary>
    /// <exception cref="UnsupportedGraphException">The type is neither default, linear nor llama3.</exception>
    public RotaryScaling Scaling(int positions)
    {
        if (!IsGiven)
            return RotaryScaling.None;
        var type = _scaling.TryGetProperty("rope_type", out var named) || _scaling.TryGetProperty("type", out named)
            ? named.ValueKind == JsonValueKind.String ? named.GetString() : throw Wrong($"{_name}.rope_type", $"{Json.Shown(named)} is not a string") : "default";
        if (_scaling.TryGetProperty("partial_rotary_factor", out var part) && Real($"{_name}.partial_rotary_factor", part) != 1)
            throw new UnsupportedGraphException($"{_path}: {_name}: partial_rotary_factor is not supported.");
        return type switch
        {
            "default" => RotaryScaling.None,
            "linear" => new RotaryScaling.Linear(Positive("factor")),
            "llama3" => Llama3(positions),
            _ => throw new UnsupportedGraphException($"{_path}: {_name}: rope_type '{type}' is not supported; default, linear and llama3 are."),
        };
    }

    private RotaryScaling.Llama3 Llama3(int positions)
    {
        var (low, high) = (Positive("low_freq_factor"), Positive("high_freq_factor"));
        if (low >= high)
            throw Wrong($"{_name}.low_freq_factor", $"{low} is not below high_freq_factor {high}");
        var original = _scaling.TryGetProperty("original_max_position_embeddings", out _) ? Positive("original_max_position_embeddings") : positions;
        return new RotaryScaling.Llama3(Positive("factor"), low, high, original);
    }

    private double Positive(string field)
    {
        var name = $"{_name}.{field}";
        var value = _scaling.TryGetProperty(field, out var given) ? Real(name, given) : throw Wrong(name, "the field is missing");
        return value > 0 && double.IsFinite(value) ? value : throw Wrong(name, $"{Json.Shown(given)} is not a positive number");
    }

    private double Real(string name, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) ? number : throw Wrong(name, $"{Json.Shown(value)} is not a number");

    private ModelFormatException Wrong(string field, string problem) => new($"{_path}: {field}: {problem}.");
}
