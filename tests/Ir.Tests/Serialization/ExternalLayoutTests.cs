using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>External data is written back as the source stored it, or referred to where it lies.</summary>
public sealed class ExternalLayoutTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sorsa-external-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [InlineData("nano-llama/optimum-external-data")]
    [InlineData("nano-llama/dynamo-opset23")]
    [InlineData("nano-llama-hd16/genai-fp32-cpu")]
    [InlineData("nano-llama-hd16/genai-int4-cpu")]
    public void AsStored_UnchangedModel_GivesTheSameDataFile(string export)
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent.");
        var source = Paths.Shared("exports", export, "model.onnx");
        using var model = OnnxReader.Read(source);
        var layout = Save(model, ExternalLayout.AsStored(model));
        Assert.All(layout.Locations, location =>
        {
            var (before, after) = (File.ReadAllBytes(Path.Combine(Path.GetDirectoryName(source)!, location)), File.ReadAllBytes(At(location)));
            Assert.True(before.AsSpan(0, after.Length).SequenceEqual(after), "the data differs");
            Assert.True(before.AsSpan(after.Length).IndexOfAnyExcept((byte)0) < 0, "the data is cut");
        });
        Assert.NotEmpty(layout.Locations);
    }

    [Fact]
    public void AsStored_OneTensorReplacedInSize_ChangesItsBytesOnly()
    {
        using var source = OnnxReader.Read(SmallModel(ExternalFiles.Separate));
        var old = source.ExternalLocations.ToDictionary();
        source.Graph.MakeInitializer(source.Graph.FindInitializer("b")!, InMemoryTensor.Of(Enumerable.Repeat(7f, 300).ToArray(), 300));
        var before = File.ReadAllBytes(At("weights.bin"));
        var written = SaveTo("out", source, ExternalLayout.AsStored(source));
        using var again = OnnxReader.Read(Path.Combine(written, "model.onnx"));
        Assert.Equal(old.Select(o => (o.Key, o.Value.Offset, o.Value.Length)), again.ExternalLocations.Select(o => (o.Key, o.Value.Offset, o.Value.Length)));
        var after = File.ReadAllBytes(Path.Combine(written, "weights.bin"));
        var (start, length) = ((int)old["b"].Offset!.Value, (int)old["b"].Length!.Value);
        Assert.Equal(before[..start], after[..start]);
        Assert.Equal(before[(start + length)..], after[(start + length)..]);
        Assert.All(again.Graph.FindInitializer("b")!.Constant!.ToArray<float>(), v => Assert.Equal(7f, v));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AsStored_SharedBytesWithOneTensorReplaced_KeepsTheOther(bool sameSize)
    {
        using var source = OnnxReader.Read(SmallModel(ExternalFiles.Shared));
        var kept = source.Graph.FindInitializer("a")!.Constant!.ToArray<float>();
        var count = sameSize ? 300 : 500;
        source.Graph.MakeInitializer(source.Graph.FindInitializer("b")!, InMemoryTensor.Of(Enumerable.Repeat(7f, count).ToArray(), count));
        using var again = OnnxReader.Read(Path.Combine(SaveTo("out", source, ExternalLayout.AsStored(source)), "model.onnx"));
        Assert.Equal(kept, again.Graph.FindInitializer("a")!.Constant!.ToArray<float>());
        Assert.All(again.Graph.FindInitializer("b")!.Constant!.ToArray<float>(), v => Assert.Equal(7f, v));
    }

    [Fact]
    public void AsStored_ChangedData_DropsTheChecksumOnly()
    {
        using var source = OnnxReader.Read(SmallModel(ExternalFiles.Separate));
        Assert.Contains("checksum", source.ExternalLocations["a"].Others.Select(o => o.Key));
        Assert.Contains("checksum", ExternalLayout.AsStored(source).Place(source.Graph.FindInitializer("a")!)!.Others.Select(o => o.Key));
        source.Graph.MakeInitializer(source.Graph.FindInitializer("a")!, InMemoryTensor.Of(new float[300], 300));
        Assert.Equal(["note"], ExternalLayout.AsStored(source).Place(source.Graph.FindInitializer("a")!)!.Others.Select(o => o.Key));
    }

    [Fact]
    public void Write_ReferenceOnly_WritesNoData()
    {
        using var source = OnnxReader.Read(SmallModel(ExternalFiles.Separate, withOtherKeys: false));
        using (var stream = File.Create(At("second.onnx")))
            OnnxWriter.Write(source, stream, v => source.ExternalLocations.GetValueOrDefault(v.Name));
        Assert.True(new FileInfo(At("second.onnx")).Length < 600);
        var feeds = new Dictionary<string, OrtTensor> { ["x"] = OrtTensor.Of(new float[300]) };
        Assert.Equal(OrtRun.Run(At("model.onnx"), feeds)["y"].As<float>(), OrtRun.Run(At("second.onnx"), feeds)["y"].As<float>());
    }

    [Fact]
    public void InOneFile_LoadsInOnnxRuntime()
    {
        using var model = Sum();
        var expected = OrtRun.Run(model, new Dictionary<string, OrtTensor> { ["x"] = OrtTensor.Of(new float[300]) })["y"].As<float>();
        var layout = Save(model, ExternalLayout.InOneFile(model, "data/frozen.bin"));
        Assert.Equal([0L, 4096L], model.Graph.Initializers.Select(v => layout.Place(v)!.Offset!.Value));
        var actual = OrtRun.Run(At("model.onnx"), new Dictionary<string, OrtTensor> { ["x"] = OrtTensor.Of(new float[300]) })["y"].As<float>();
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void Write_OverTwoGibibytesInside_IsRefusedBeforeWriting()
    {
        using (var sparse = File.Create(At("huge.bin")))
            sparse.SetLength(int.MaxValue);
        using var model = Sum();
        var file = MappedFile.Open(At("huge.bin"));
        model.Own(file);
        model.Graph.MakeInitializer(model.Graph.FindInitializer("a")!, new MappedTensor(ElementType.UInt8, [int.MaxValue], file, 0, int.MaxValue));
        using var stream = new MemoryStream();
        var e = Assert.Throws<ModelFormatException>(() => OnnxWriter.Write(model, stream));
        Assert.Contains("external data", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, stream.Length);
    }

    [Theory]
    [InlineData("../evil.bin")]
    [InlineData("/evil.bin")]
    [InlineData("out/evil.bin")]
    [InlineData("link.bin")]
    [InlineData("C:evil.bin")]
    public void ForWriting_OutsideOfTheFolder_IsRefused(string location)
    {
        Directory.CreateSymbolicLink(At("out"), Path.GetTempPath());
        File.CreateSymbolicLink(At("link.bin"), At("elsewhere"));
        Assert.Throws<ModelFormatException>(() => ExternalPath.ForWriting(_folder.FullName, location));
    }

    private enum ExternalFiles { Separate, Shared }

    private string At(string name) => Path.Combine(_folder.FullName, name);

    // ONNX Runtime refuses keys that it does not know.
    private string SmallModel(ExternalFiles files, bool withOtherKeys = true)
    {
        using var model = Sum();
        using (var data = File.Create(At("weights.bin")))
        {
            data.Write(new byte[64]);
            model.Graph.FindInitializer("a")!.Constant!.WriteTo(data);
            model.Graph.FindInitializer("b")!.Constant!.WriteTo(data);
        }
        using var stream = File.Create(At("model.onnx"));
        OnnxWriter.Write(model, stream, v => new ExternalLocation(
            "weights.bin", v.Name == "a" || files == ExternalFiles.Shared ? 64 : 1264, 1200, withOtherKeys ? [new("checksum", "0"), new("note", "kept")] : []));
        return At("model.onnx");
    }

    // y = x + a + b, each of 300 floats.
    private static Model Sum()
    {
        var graph = new Graph("sum");
        var x = graph.AddInput("x", new TensorType(ElementType.Float32, [300]));
        var a = graph.AddInitializer("a", InMemoryTensor.Of(Enumerable.Range(0, 300).Select(i => (float)i).ToArray(), 300));
        var b = graph.AddInitializer("b", InMemoryTensor.Of(Enumerable.Range(0, 300).Select(i => i * 0.5f).ToArray(), 300));
        var t = graph.NewValue("t");
        var y = graph.NewValue("y", new TensorType(ElementType.Float32, [300]));
        graph.AddNode("Add", [x, a], [t]);
        graph.AddNode("Add", [t, b], [y]);
        graph.AddOutput(y);
        var model = new Model(graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        return model;
    }

    private ExternalLayout Save(Model model, ExternalLayout layout)
    {
        SaveTo(".", model, layout);
        return layout;
    }

    private string SaveTo(string name, Model model, ExternalLayout layout)
    {
        var folder = Directory.CreateDirectory(At(name)).FullName;
        using (var stream = File.Create(Path.Combine(folder, "model.onnx")))
            OnnxWriter.Write(model, stream, layout.Place);
        layout.WriteData(location => File.Create(ExternalPath.ForWriting(folder, location)));
        return folder;
    }
}
