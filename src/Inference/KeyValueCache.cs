using Microsoft.ML.OnnxRuntime;

namespace SorsaOrt.Inference;

/// <summary>Cached keys and values of a run [B, heads, T, head size], one value per slot, in ONNX Runtime's own memory.</summary>
internal sealed class KeyValueCache : IDisposable
{
    private readonly IReadOnlyList<OrtValue> _values;
    private readonly IDisposable? _owner;

    private KeyValueCache(IReadOnlyList<OrtValue> values, IDisposable? owner) => (_values, _owner) = (values, owner);

    /// <summary>A value per slot.</summary>
    public IReadOnlyList<OrtValue> Values => _values;

    /// <summary>A cache of no tokens.</summary>
    public static KeyValueCache Empty(IReadOnlyList<CacheSlot> slots, int rows) =>
        Allocate(slots.Count, i => OrtValue.CreateAllocatedTensorValue(OrtAllocator.DefaultInstance, slots[i].Type, [rows, slots[i].Heads, 0, slots[i].HeadSize]));

    /// <summary>Takes over a run's outputs; those from <paramref name="first"/> on are the slots'.</summary>
    public static KeyValueCache TakeOver(IDisposableReadOnlyCollection<OrtValue> outputs, int first) =>
        new([.. outputs.Skip(first)], outputs);

    /// <summary>A cache of some of the rows; the values must be in host memory.</summary>
    public KeyValueCache Only(int[] rows) => Allocate(_values.Count, i =>
    {
        var info = _values[i].GetTensorTypeAndShape();
        long[] shape = info.Shape;
        var source = _values[i].GetTensorMutableRawData();
        int size = source.Length / (int)shape[0];
        var chosen = OrtValue.CreateAllocatedTensorValue(OrtAllocator.DefaultInstance, info.ElementDataType, [rows.Length, .. shape[1..]]);
        var target = chosen.GetTensorMutableRawData();
        for (int row = 0; row < rows.Length; row++)
            source.Slice(rows[row] * size, size).CopyTo(target[(row * size)..]);
        return chosen;
    });

    /// <inheritdoc/>
    public void Dispose()
    {
        _owner?.Dispose();
        if (_owner is not null)
            return;
        foreach (var value in _values)
            value.Dispose();
    }

    private static KeyValueCache Allocate(int count, Func<int, OrtValue> allocate)
    {
        var values = new List<OrtValue>(count);
        try
        {
            for (int i = 0; i < count; i++)
                values.Add(allocate(i));
            return new KeyValueCache(values, owner: null);
        }
        catch
        {
            values.ForEach(v => v.Dispose());
            throw;
        }
    }
}
