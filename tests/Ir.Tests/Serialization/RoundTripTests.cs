using SorsaOrt.Ir.Serialization;
using SorsaOrt.Ir.Serialization.Proto;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>Reading a file and writing it again changes nothing that a protobuf reader can see.</summary>
public sealed class RoundTripTests
{
    /// <summary>Every export of every exporter, and the fixtures; relative to their root.</summary>
    public static TheoryData<string> Models()
    {
        var models = new TheoryData<string> { "fixture:nano-llama/optimum-no-past.onnx", "sample:model.onnx" };
        if (Paths.SharedOrNull is { } shared)
        {
            var exports = Path.Combine(shared, "exports");
            foreach (var path in Directory.EnumerateFiles(exports, "*.onnx", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
                models.Add("shared:" + Path.GetRelativePath(exports, path));
        }
        return models;
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void ReadAndWrite_KeepsEveryField(string name)
    {
        var path = Resolve(name);
        using var model = OnnxReader.Read(path);
        var before = ModelProto.Parser.ParseFrom(File.ReadAllBytes(path));
        using var stream = new MemoryStream();
        OnnxWriter.Write(model, stream, v => model.ExternalLocations.GetValueOrDefault(v.Name));
        var after = ModelProto.Parser.ParseFrom(stream.ToArray());
        Assert.Equal([], Differences.Between(before, after));
        Assert.True(before.Equals(after));
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void LargeInitializers_StayInTheFile(string name)
    {
        using var model = OnnxReader.Read(Resolve(name));
        Assert.All(model.Graph.Initializers, v => Assert.True(v.Constant is MappedTensor || v.Constant!.ByteLength < 1024));
        Assert.Contains(model.Graph.Initializers, v => v.Constant is MappedTensor);
    }

    private static string Resolve(string name) => name.Split(':', 2) switch
    {
        ["fixture", var rest] => Paths.Fixture(rest),
        ["sample", var rest] => Paths.TinyMath(rest),
        [_, var rest] => Paths.Shared("exports", rest),
        _ => throw new ArgumentException(name),
    };
}
