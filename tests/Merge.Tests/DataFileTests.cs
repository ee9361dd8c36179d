using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Merge.Tests;

/// <summary>Where weights lie that <c>--dtype</c> gave another size: with the data of a model that has some, inside one that has none, beside it when that would grow too large.</summary>
public sealed class DataFileTests
{
    /// <summary>Nothing but what was inside before is inside, and the data file has no holes and is written once.</summary>
    [Theory]
    [InlineData("nano-llama/genai-fp16-dml", ElementType.Float32, false)]
    [InlineData("nano-llama/optimum-external-data", ElementType.Float16, false)]
    [InlineData("nano-llama-hd16/genai-int4-cpu", ElementType.Float32, true)]
    public void WeightsOfAModelWithExternalData_StayThere(string family, ElementType type, bool isQuantized)
    {
        Assert.SkipWhen(Exports.FolderOrNull(family) is null, "../shared/exports is absent");
        using var folder = new TemporaryFolder();
        var artifacts = Build(Exports.Model(family), folder);
        ModelMerger.Merge(artifacts, null, folder.At("merged.onnx"), type, false);
        using var before = OnnxReader.Read(Exports.Model(family));
        using var after = OnnxReader.Read(folder.At("merged.onnx"));
        var added = after.Graph.Initializers.Where(v => before.Graph.FindInitializer(v.Name) is null).ToList();
        Assert.Equal(isQuantized ? 25 : artifacts.Manifest.Targets.Select(t => t.WeightName).Distinct().Count(), added.Count);
        Assert.All(added, v => Assert.True(v.ElementType == type && after.ExternalLocations.ContainsKey(v.Name), v.ToString()));
        Assert.All(after.Graph.Initializers.Except(added), v => Assert.Equal(before.ExternalLocations.ContainsKey(v.Name), after.ExternalLocations.ContainsKey(v.Name)));
        var places = after.ExternalLocations.Values.OrderBy(p => p.Offset).ToList();
        Assert.Single(places.Select(p => p.Location).Distinct());
        Assert.All(places.Zip(places.Skip(1)), p => Assert.InRange(p.Second.Offset!.Value - p.First.Offset!.Value - p.First.Length!.Value, 0, 4095));
        Assert.Equal(places[^1].Offset + places[^1].Length, new FileInfo(folder.At(places[0].Location)).Length);
        foreach (var old in before.Graph.Initializers)
        {
            if (after.Graph.FindInitializer(old.Name) is { } now)
                Assert.True(Bytes(old.Constant!).SequenceEqual(Bytes(now.Constant!)), old.Name);
        }
    }

    /// <summary>A model file may have 2 GiB. A bound of some kilobytes stands for that here.</summary>
    [Theory]
    [InlineData(SourceLayout.MostInside, false)]
    [InlineData(400_000, true)]
    public void WeightsOfAModelWithoutExternalData_LeaveItOnlyWhenItWouldGrowTooLarge(long mostInside, bool leave)
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("nbits 4 32", folder.At("q.onnx"));
        var artifacts = Build(folder.At("q.onnx"), folder);
        ModelMerger.Merge(artifacts, null, folder.At("expected.onnx"), ElementType.Float32, false);
        ModelMerger.Merge(artifacts, null, folder.At("merged.onnx"), ElementType.Float32, false, null, 2, mostInside);
        using var expected = OnnxReader.Read(folder.At("expected.onnx"));
        using var merged = OnnxReader.Read(folder.At("merged.onnx"));
        Assert.Equal(expected.Graph.ToString(), merged.Graph.ToString());
        foreach (var (e, m) in expected.Graph.Initializers.Zip(merged.Graph.Initializers))
        {
            Assert.True(Bytes(e.Constant!).SequenceEqual(Bytes(m.Constant!)), e.Name);
            Assert.Equal(leave && e.Name.EndsWith(".f32", StringComparison.Ordinal), merged.ExternalLocations.ContainsKey(m.Name));
        }
        Assert.Equal(leave ? ["merged.onnx.data"] : [], merged.ExternalLocations.Values.Select(p => p.Location).Distinct());
        Assert.Equal(leave, File.Exists(folder.At("merged.onnx.data")));
    }

    /// <summary>Integers go back where they were, whatever the bound: the file has the size it had.</summary>
    [Fact]
    public void QuantisedAgain_NothingLeavesTheFile()
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("nbits 4 32", folder.At("q.onnx"));
        ModelMerger.Merge(Build(folder.At("q.onnx"), folder), null, folder.At("merged.onnx"), null, false, null, 1, 1000);
        Assert.Equal(new FileInfo(folder.At("q.onnx")).Length, new FileInfo(folder.At("merged.onnx")).Length);
        Assert.False(File.Exists(folder.At("merged.onnx.data")));
    }

    private static ArtifactSet Build(string model, TemporaryFolder folder)
    {
        ArtifactBuilder.Build(new BuildOptions { ModelPath = model, OutputFolder = folder.At("artifacts"), Rank = 4 });
        return ArtifactSet.Open(folder.At("artifacts"), Verification.Full);
    }

    private static byte[] Bytes(Tensor tensor)
    {
        using var stream = new MemoryStream();
        tensor.WriteTo(stream);
        return stream.ToArray();
    }
}
