using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Merge.Tests;

/// <summary>Merging beside or onto the very model that the artifacts came from, whose data lies in a second file.</summary>
public sealed class SourceKeptTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ArtifactSet _artifacts;

    public SourceKeptTests()
    {
        foreach (var name in new[] { "model.onnx", "model.onnx.data" })
            File.Copy(Paths.Fixture("exports", "nano-llama", "genai-fp16-dml", name), _folder.At(name));
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Model, OutputFolder = _folder.At("artifacts"), Rank = 2, Targets = "q_proj" });
        _artifacts = ArtifactSet.Open(_folder.At("artifacts"), Verification.Full);
    }

    private string Model => _folder.At("model.onnx");

    private string Data => _folder.At("model.onnx.data");

    private void Merge(string output, bool force = false, ElementType? type = null, Action<string>? check = null) => ModelMerger.Merge(_artifacts, null, output, type, force, check);

    private static string[] DataOf(string path)
    {
        using var model = OnnxReader.Read(path);
        foreach (var initializer in model.Graph.Initializers)
            initializer.Constant!.WriteTo(Stream.Null); // every byte is there
        return [.. model.ExternalLocations.Values.Select(l => l.Location).Distinct()];
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void MergedBesideTheSource_LeavesBothItsFilesAlone(bool force)
    {
        var (model, data) = (File.ReadAllBytes(Model), File.ReadAllBytes(Data));

        Merge(_folder.At("merged.onnx"), force);

        Assert.Equal(["merged.onnx.data"], DataOf(_folder.At("merged.onnx")));
        Assert.Equal(model, File.ReadAllBytes(Model));
        Assert.Equal(data, File.ReadAllBytes(Data));
    }

    [Fact]
    public void MergedTwice_ReplacesItsOwnDataAlone()
    {
        var data = File.ReadAllBytes(Data);
        Merge(_folder.At("merged.onnx"));
        Merge(_folder.At("other.onnx"));
        var before = _folder.Everything();

        Merge(_folder.At("merged.onnx"), force: true, type: ElementType.Float32);

        Assert.Equal(before, _folder.Everything());
        Assert.Equal(["merged.onnx.data"], DataOf(_folder.At("merged.onnx")));
        Assert.Equal(["other.onnx.data"], DataOf(_folder.At("other.onnx")));
        Assert.Equal(data, File.ReadAllBytes(Data));
    }

    [Fact]
    public void MergedOntoTheSource_NeedsForce_AndPutsNewDataBesideTheOld()
    {
        var (model, data) = (File.ReadAllBytes(Model), File.ReadAllBytes(Data));
        Assert.Throws<OutputExistsException>(() => Merge(Model));
        Assert.Equal(model, File.ReadAllBytes(Model));

        Merge(Model, force: true, type: ElementType.Float32);

        Assert.Equal(data, File.ReadAllBytes(Data));
        Assert.Equal(["model.onnx.1.data"], DataOf(Model));
        // And once more onto that.
        Merge(Model, force: true);
        Assert.Equal(["model.onnx.1.data"], DataOf(Model));
        Assert.Equal(data, File.ReadAllBytes(Data));
    }

    [Fact]
    public void MergeOntoTheSource_ThatFails_LeavesTheSource()
    {
        var (model, before) = (File.ReadAllBytes(Model), _folder.Everything());

        Assert.Throws<IOException>(() => Merge(Model, force: true, check: _ => throw new IOException("the check failed")));

        Assert.Equal(model, File.ReadAllBytes(Model));
        Assert.Equal(before, _folder.Everything());
    }

    [Fact]
    public void AFileOfTheArtifacts_IsNeverTheOutput()
    {
        Assert.Throws<OutputExistsException>(() => Merge(_folder.At("artifacts", "source_model.onnx"), force: true));
        ArtifactSet.Open(_folder.At("artifacts"), Verification.Full);
    }

    public void Dispose() => _folder.Dispose();
}
