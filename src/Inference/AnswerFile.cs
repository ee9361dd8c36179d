using System.Text.Json;
using SorsaOrt.Data;

namespace SorsaOrt.Inference;

/// <summary>Answers of an evaluation as JSON lines, the first of which says what was evaluated. A later start with the same settings goes on after them.</summary>
public sealed class AnswerFile : IDisposable
{
    private const string SettingsKey = "settings";
    private const int MostLineBytes = 16 << 20;
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    private readonly FileStream _stream;
    private readonly Dictionary<int, ScoredAnswer> _known = [];

    private AnswerFile(FileStream stream) => _stream = stream;

    /// <summary>Answers found in the file, by row.</summary>
    public IReadOnlyDictionary<int, ScoredAnswer> Known => _known;

    /// <summary>Opens a file, or makes it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="settings">What an answer depends on: model, data, tokenizer, template, metric.</param>
    /// <param name="startAnew">Throws away what is there.</param>
    /// <exception cref="DataFormatException">The file is of other settings, or something else.</exception>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static AnswerFile Open(string path, IReadOnlyDictionary<string, string> settings, bool startAnew)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(settings);
        if (Path.EndsInDirectorySeparator(path) || Directory.Exists(path))
            throw new DataFormatException(path, "this is a directory", "Give --out the path of a file.");
        var stream = OpenForWriting(path, startAnew);
        var file = new AnswerFile(stream);
        try
        {
            if (stream.Length == 0)
                file.WriteLine(new Dictionary<string, object> { [SettingsKey] = settings });
            else
                file.Read(path, settings);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Adds an answer; it is in the file when this returns.</summary>
    public void Add(ScoredAnswer answer) => WriteLine(answer);

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private static FileStream OpenForWriting(string path, bool startAnew)
    {
        try
        {
            if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } folder)
                Directory.CreateDirectory(folder);
            return new FileStream(path, startAnew ? FileMode.Create : FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"the answers cannot be written: {e.Message}", e);
        }
    }

    private void WriteLine<T>(T value)
    {
        _stream.Write([.. JsonSerializer.SerializeToUtf8Bytes(value, Json), (byte)'\n']);
        _stream.Flush();
    }

    private void Read(string path, IReadOnlyDictionary<string, string> settings)
    {
        const string Remedy = "Give another --out file, or --force to start anew.";
        long whole = 0;
        int number = 0;
        try
        {
            foreach (byte[] line in Lines())
            {
                number++;
                if (number == 1)
                    CheckSettings(path, line, settings);
                else if (JsonSerializer.Deserialize<ScoredAnswer>(line, Json) is { Prompt: not null, Answer: not null, Expected: not null } answer)
                    _known[answer.Row] = answer;
                else
                    throw new JsonException("no answer");
                whole += line.Length + 1;
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) // the latter: half of a surrogate pair
        {
            throw new DataFormatException(path, number, "this is no line of an evaluation's answers", Remedy, e);
        }
        if (number == 0)
            throw new DataFormatException(path, "this is no file of an evaluation's answers", Remedy);
        _stream.SetLength(whole);   // a line that a killed run left unfinished
        _stream.Position = whole;
    }

    private static void CheckSettings(string path, byte[] line, IReadOnlyDictionary<string, string> settings)
    {
        using var json = JsonDocument.Parse(line);
        if (json.RootElement.ValueKind != JsonValueKind.Object || !json.RootElement.TryGetProperty(SettingsKey, out var found) || found.ValueKind != JsonValueKind.Object)
            throw new JsonException("no settings");
        foreach (var (name, value) in settings)
        {
            string? other = found.TryGetProperty(name, out var element) && element.ValueKind == JsonValueKind.String ? element.GetString() : null;
            if (other != value)
                throw new DataFormatException(path, $"its answers were made with another {name} ('{other}', now '{value}')", "Give another --out file, or --force to start anew.");
        }
    }

    /// <summary>Lines that end with a line end.</summary>
    private IEnumerable<byte[]> Lines()
    {
        _stream.Position = 0;
        var line = new List<byte>();
        for (int b = _stream.ReadByte(); b >= 0; b = _stream.ReadByte())   // the stream has a buffer
        {
            if (b == '\n')
            {
                yield return [.. line];
                line.Clear();
            }
            else if (line.Count >= MostLineBytes)
            {
                throw new JsonException("a line is too long");
            }
            else
            {
                line.Add((byte)b);
            }
        }
    }
}
