using System.Text;

namespace SorsaOrt.Export.Tests;

/// <summary>Writes small GGUF files of version 3.</summary>
internal sealed class GgufWriter : IDisposable
{
    private readonly MemoryStream _metadata = new(), _infos = new(), _data = new();
    private int _entries, _tensors;

    public void Dispose()
    {
        _metadata.Dispose();
        _infos.Dispose();
        _data.Dispose();
    }

    public GgufWriter Text(string key, string value) => Entry(key, 8, w => Put(w, value));

    public GgufWriter Number(string key, uint value) => Entry(key, 4, w => w.Write(value));

    public GgufWriter Real(string key, float value) => Entry(key, 6, w => w.Write(value));

    public GgufWriter Numbers(string key, params uint[] values) => Entry(key, 9, w =>
    {
        w.Write(4u);
        w.Write((ulong)values.Length);
        Array.ForEach(values, w.Write);
    });

    /// <summary>A tensor of a type by ggml's number; the shape is row-major.</summary>
    public GgufWriter Tensor(string name, uint type, long[] shape, byte[] data)
    {
        using var writer = new BinaryWriter(_infos, Encoding.UTF8, leaveOpen: true);
        Put(writer, name);
        writer.Write((uint)shape.Length);
        foreach (var length in shape.Reverse())
            writer.Write((ulong)length);
        writer.Write(type);
        writer.Write((ulong)_data.Length);
        _data.Write(data);
        _data.Write(new byte[-_data.Length & 31]);
        _tensors++;
        return this;
    }

    public void Write(string path)
    {
        using var file = new BinaryWriter(File.Create(path));
        file.Write("GGUF"u8);
        file.Write(3u);
        file.Write((ulong)_tensors);
        file.Write((ulong)_entries);
        file.Write(_metadata.ToArray());
        file.Write(_infos.ToArray());
        file.Write(new byte[-file.BaseStream.Position & 31]);
        file.Write(_data.ToArray());
    }

    private GgufWriter Entry(string key, uint type, Action<BinaryWriter> value)
    {
        using var writer = new BinaryWriter(_metadata, Encoding.UTF8, leaveOpen: true);
        Put(writer, key);
        writer.Write(type);
        value(writer);
        _entries++;
        return this;
    }

    private static void Put(BinaryWriter writer, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((ulong)bytes.Length);
        writer.Write(bytes);
    }
}
