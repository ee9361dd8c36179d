using System.Buffers.Binary;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

public sealed class SafetensorsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Property(MaxTest = 200)]
    public Property WriteThenRead_IsTheIdentity() => Prop.ForAll(Tensors().ToArbitrary(), tensors =>
    {
        string path = _folder.At("t.safetensors");
        File.WriteAllBytes(path, Write(tensors, chunk: 3));
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        Assert.Equal(tensors.Select(t => t.Declaration.Name).Order(), reader.Tensors.Select(t => t.Name).Order());
        foreach ((SafetensorsDeclaration declaration, byte[] data) in tensors)
        {
            Assert.Equal(declaration.Type, reader[declaration.Name].Type);
            Assert.Equal(declaration.Shape, reader[declaration.Name].Shape);
            Assert.Equal(data, reader.Bytes(declaration.Name).ToArray());
        }
    });

    [Property(MaxTest = 100)]
    public Property Write_GivesTheSameBytesForAnyChunking() => Prop.ForAll(Tensors().ToArbitrary(), tensors =>
        Write(tensors, chunk: 1).SequenceEqual(Write(tensors, chunk: 1 << 20)));

    [Property(MaxTest = 300)]
    public Property Read_OfAnyChangedHeaderByteEndsInAValueOrARefusalThatNamesTheFile() => Prop.ForAll(
        Gen.Choose(0, 1 << 20).Two().ToArbitrary(), change =>
        {
            byte[] bytes = Write([(new SafetensorsDeclaration("a", SafetensorsType.F32, [2, 2]), new byte[16]), (new SafetensorsDeclaration("b", SafetensorsType.U8, [3]), new byte[3])], 8);
            (int at, int value) = change;
            bytes[at % bytes.Length] = (byte)(value & 255);
            string path = _folder.At("changed.safetensors");
            File.WriteAllBytes(path, bytes);
            try
            {
                using SafetensorsReader reader = SafetensorsReader.Open(path);
                foreach (SafetensorsEntry tensor in reader.Tensors)
                    _ = reader.Bytes(tensor.Name).ToArray();
            }
            catch (SafetensorsFormatException e)
            {
                Assert.Contains("changed.safetensors", e.Message, StringComparison.Ordinal);
            }
        });

    [Fact]
    public void Metadata_IsKeptInOrdinalOrder()
    {
        var stream = new MemoryStream();
        new SafetensorsWriter(stream, [], new Dictionary<string, string> { ["b"] = "2", ["a"] = "1" }).Complete();
        string path = _folder.At("m.safetensors");
        File.WriteAllBytes(path, stream.ToArray());
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        Assert.Equal("1", reader.Metadata["a"]);
        Assert.Equal("""{"__metadata__":{"a":"1","b":"2"}}""", Encoding.UTF8.GetString(stream.ToArray()[8..]).TrimEnd(' '));
        Assert.Equal(0, stream.Length % 8);
    }

    [Fact]
    public void ReadFloats_WidensEveryFloatType()
    {
        float[] values = [1, -2.5f, 0, 65504];
        (SafetensorsDeclaration, byte[])[] tensors =
        [
            (new("f64", SafetensorsType.F64, [4]), [.. values.SelectMany(v => BitConverter.GetBytes((double)v))]),
            (new("f32", SafetensorsType.F32, [4]), [.. values.SelectMany(BitConverter.GetBytes)]),
            (new("f16", SafetensorsType.F16, [4]), [.. values.SelectMany(v => BitConverter.GetBytes((Half)v))]),
            (new("bf16", SafetensorsType.BF16, [2]), [0x80, 0x3f, 0x20, 0xc0]),
            (new("i32", SafetensorsType.I32, [1]), [1, 0, 0, 0]),
        ];
        string path = _folder.At("f.safetensors");
        File.WriteAllBytes(path, Write(tensors, 1 << 20));
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        Assert.Equal(values, reader.ReadFloats("f64"));
        Assert.Equal(values, reader.ReadFloats("f32"));
        Assert.Equal(values, reader.ReadFloats("f16"));
        Assert.Equal([1f, -2.5f], reader.ReadFloats("bf16"));
        float[] tail = new float[2];
        reader.ReadFloats("f16", 1, tail);
        Assert.Equal([-2.5f, 0f], tail);
        Assert.Contains("'i32'", Assert.Throws<SafetensorsFormatException>(() => reader.ReadFloats("i32")).Message, StringComparison.Ordinal);
        Assert.Contains("'absent'", Assert.Throws<SafetensorsFormatException>(() => reader["absent"]).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_ReadsWhatTheReferenceImplementationWrote()
    {
        using SafetensorsReader reader = SafetensorsReader.Open(Paths.Fixture("nano-llama", "goldens", "init", "r8", "factors.safetensors"));
        SafetensorsEntry factor = reader.Tensors.First(t => t.Name.EndsWith(".A", StringComparison.Ordinal));
        Assert.Equal(8, factor.Shape[0]);
        Assert.All(reader.ReadFloats(factor.Name), value => Assert.True(float.IsFinite(value)));
    }

    [Fact]
    public void Writer_RefusesWrongOrderTooMuchTooLittleAndDuplicates()
    {
        SafetensorsDeclaration a = new("a", SafetensorsType.U8, [2]), b = new("b", SafetensorsType.U8, [1]);
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(Stream.Null, [a, a]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(Stream.Null, [a with { Name = "__metadata__" }]));
        Assert.Throws<InvalidOperationException>(() => new SafetensorsWriter(Stream.Null, [a, b]).Write("b", new byte[1]));
        Assert.Throws<InvalidOperationException>(() => new SafetensorsWriter(Stream.Null, [a, b]).Write("a", new byte[3]));
        var cut = new SafetensorsWriter(Stream.Null, [a, b]);
        cut.Write("a", new byte[2]);
        Assert.Contains("'b'", Assert.Throws<InvalidOperationException>(cut.Complete).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_RefusesAClaimedHeaderBeforeAllocatingIt()
    {
        byte[] bytes = new byte[100];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, 90_000_000);
        string path = _folder.At("claim.safetensors");
        File.WriteAllBytes(path, bytes);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<SafetensorsFormatException>(() => SafetensorsReader.Open(path));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1_000_000);
    }

    [Fact]
    public void Open_NamesAControlCharacterWithoutPrintingIt()
    {
        byte[] header = Encoding.UTF8.GetBytes("""{"a\u001b[31m":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}""");
        string path = _folder.At("escape.safetensors");
        File.WriteAllBytes(path, [.. BitConverter.GetBytes((long)header.Length), .. header, .. new byte[8]]);
        string message = Assert.Throws<SafetensorsFormatException>(() => SafetensorsReader.Open(path)).Message;
        Assert.Contains(@"a\u001b[31m", message, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", message, StringComparison.Ordinal);
    }

    private static byte[] Write(IReadOnlyList<(SafetensorsDeclaration Declaration, byte[] Data)> tensors, int chunk)
    {
        var stream = new MemoryStream();
        var writer = new SafetensorsWriter(stream, [.. tensors.Select(t => t.Declaration)]);
        foreach ((SafetensorsDeclaration declaration, byte[] data) in tensors)
        {
            for (int at = 0; at < data.Length; at += chunk)
                writer.Write(declaration.Name, data.AsSpan(at, Math.Min(chunk, data.Length - at)));
        }
        writer.Complete();
        return stream.ToArray();
    }

    private static Gen<(SafetensorsDeclaration Declaration, byte[] Data)[]> Tensors()
    {
        Gen<(SafetensorsType Type, long[] Shape)> tensor =
            from type in Gen.Elements(Enum.GetValues<SafetensorsType>())
            from shape in Gen.Choose(0, 4).Select(d => (long)d).ArrayOf().Resize(4)
            select (type, shape);
        return tensor.ArrayOf().Select(all => all.Select((t, i) =>
        {
            var declaration = new SafetensorsDeclaration($"tensor \"{i}\" ü\n", t.Type, t.Shape);
            return (declaration, Enumerable.Range(i, (int)declaration.ByteCount).Select(v => (byte)(v & 255)).ToArray());
        }).ToArray());
    }
}
