using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>A small file that unfolds into much is refused before anything is made of it.</summary>
public sealed class LimitsTests
{
    [Fact]
    public void MillionsOfEmptyNodes_AreRefused() =>
        AssertRefused(Model(Field(7, Repeat([0x0A, 0x00], FormatLimits.Messages + 1))), "messages");

    [Fact]
    public void ListsThatUnfoldToGigabytes_AreRefused()
    {
        var ints = Field(8, new byte[FormatLimits.StructureBytes + 1]);
        AssertRefused(Model(Field(7, Field(1, Field(5, ints)))), "more nodes and constants");
    }

    [Fact]
    public void ATensorOfManyDimensions_IsRefused() =>
        AssertRefused(Model(Field(7, Field(5, Field(1, Repeat([1], 100_000))))), "dimensions");

    [Fact]
    public void WritingOntoTheFileThatIsRead_KeepsTheWeights()
    {
        using var folder = new TemporaryFolder();
        var path = folder.At("model.onnx");
        File.WriteAllBytes(path, File.ReadAllBytes(Paths.Fixture("nano-llama", "optimum-no-past.onnx")));
        using var model = OnnxReader.Read(path);
        var before = OnnxWriter.ToBytes(model);
        OnnxWriter.Write(model, path);
        Assert.Equal(before, File.ReadAllBytes(path));
        Assert.Equal(["model.onnx"], folder.Everything());
    }

    private static void AssertRefused(byte[] bytes, string word)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.At("model.onnx"), bytes);
        var e = Assert.Throws<ModelFormatException>(() => OnnxReader.Read(folder.At("model.onnx")));
        Assert.Contains(word, e.Message, StringComparison.Ordinal);
        Assert.Contains("model.onnx", e.Message, StringComparison.Ordinal);
    }

    private static byte[] Model(byte[] graph) => [0x08, 9, .. graph, .. Field(8, [0x10, 17])];

    private static byte[] Field(int number, byte[] payload)
    {
        var head = new List<byte> { (byte)(number << 3 | 2) };
        for (var rest = payload.Length; ; rest >>= 7)
        {
            head.Add((byte)(rest < 0x80 ? rest : rest & 0x7F | 0x80));
            if (rest < 0x80)
                return [.. head, .. payload];
        }
    }

    private static byte[] Repeat(byte[] piece, int count) => [.. Enumerable.Repeat(piece, count).SelectMany(p => p)];
}
