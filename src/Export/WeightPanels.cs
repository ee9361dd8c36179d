using System.Globalization;
using System.Runtime.InteropServices;
using SorsaOrt.Adapters;
using SorsaOrt.Ir;

namespace SorsaOrt.Export;

/// <summary>A source tensor as an ONNX tensor of another type and, where asked, transposed: made panel by panel while it is written.</summary>
/// <remarks>A panel is a few columns of the source (rows of the transposed result), or a run of elements as they stand; no weight is ever whole in memory.</remarks>
internal sealed class WeightPanels
{
    private const int PanelElements = 1 << 21, MostBlock = 256;

    private readonly SourceTensor _source;
    private readonly string _file;
    private readonly ElementType _type;
    private readonly long _rows, _columns;
    private readonly int _panelColumns;
    private readonly bool _transpose;
    private readonly long _count;
    private float[] _values = [];
    private byte[] _bytes = [];
    private long _panel = -1;

    private WeightPanels(SourceTensor source, string file, ElementType type, bool transpose)
    {
        (_source, _file, _type, _transpose) = (source, file, type, transpose);
        _count = source.Shape.Aggregate(1L, (product, d) => checked(product * d));
        (_rows, _columns) = transpose ? (source.Shape[0], source.Shape[1]) : (1, _count);
        _panelColumns = (int)Math.Max(MostBlock, PanelElements / _rows / MostBlock * MostBlock);
    }

    /// <summary>The tensor; <paramref name="file"/> is named when a value is not finite.</summary>
    /// <param name="source">Where the elements come from; [out, in] when it is to be transposed.</param>
    /// <param name="file">Path of the source.</param>
    /// <param name="type">Element type of the result: float32, float16 or bfloat16.</param>
    /// <param name="transpose">Give [in, out].</param>
    public static StreamedTensor Of(SourceTensor source, string file, ElementType type, bool transpose)
    {
        var panels = new WeightPanels(source, file, type, transpose);
        return new StreamedTensor(type, transpose ? [source.Shape[1], source.Shape[0]] : source.Shape, panels.Read);
    }

    private void Read(long offset, Span<byte> destination)
    {
        var size = _type.BitSize() / 8;
        var panelBytes = _rows * _panelColumns * size;
        while (!destination.IsEmpty)
        {
            var (panel, start) = Math.DivRem(offset, panelBytes);
            if (panel != _panel)
                Load(panel);
            var length = (int)Math.Min(destination.Length, _bytes.Length - start);
            _bytes.AsSpan((int)start, length).CopyTo(destination);
            offset += length;
            destination = destination[length..];
        }
        if (offset == _count * size)
        {
            (_values, _bytes, _panel) = ([], [], -1);
            _source.Release();
        }
    }

    private void Load(long panel)
    {
        var first = panel * _panelColumns;
        var columns = (int)Math.Min(_panelColumns, _columns - first);
        var length = checked((int)(_rows * columns));
        if (_values.Length != length)
            (_values, _bytes) = (new float[length], new byte[length * (_type.BitSize() / 8)]);
        if (_transpose)
            Transpose(first, columns);
        else
            _source.Read(first, _values);
        RefuseNonFinite(_values, "holds");
        Encode();
        _panel = panel;
    }

    // A band of rows at a time: decoded, then turned while it is in the cache.
    private void Transpose(long first, int columns)
    {
        const int Band = 32;
        Parallel.For(0, (int)((_rows + Band - 1) / Band), band =>
        {
            var rows = (int)Math.Min(Band, _rows - ((long)band * Band));
            var values = new float[rows * columns];
            for (var i = 0; i < rows; i++)
                _source.Read(((((long)band * Band) + i) * _columns) + first, values.AsSpan(i * columns, columns));
            for (var j = 0; j < columns; j++)
            {
                var target = (int)((j * _rows) + ((long)band * Band));
                for (var i = 0; i < rows; i++)
                    _values[target + i] = values[(i * columns) + j];
            }
        });
    }

    private void Encode()
    {
        switch (_type)
        {
            case ElementType.Float32:
                MemoryMarshal.AsBytes(_values.AsSpan()).CopyTo(_bytes);
                return;
            case ElementType.BFloat16:
                FloatConversion.ToBFloat16(_values, MemoryMarshal.Cast<byte, ushort>(_bytes.AsSpan()));
                FloatConversion.FromBFloat16(MemoryMarshal.Cast<byte, ushort>(_bytes.AsSpan()), _values);
                break;
            default:
                FloatConversion.ToHalf(_values, MemoryMarshal.Cast<byte, Half>(_bytes.AsSpan()));
                FloatConversion.FromHalf(MemoryMarshal.Cast<byte, Half>(_bytes.AsSpan()), _values);
                break;
        }
        RefuseNonFinite(_values, $"holds values beyond {_type.ShortName()}: once rounded it has");
    }

    private void RefuseNonFinite(ReadOnlySpan<float> values, string verb)
    {
        var (count, at) = NonFinite.Find(values);
        if (count > 0)
            throw new ModelFormatException(string.Create(CultureInfo.InvariantCulture,
                $"{_file}: tensor '{_source.Name}' {verb} {values[at]}{(count > 1 ? $" and {count - 1} more values that are not finite" : "")}; such a weight cannot be exported."));
    }
}
