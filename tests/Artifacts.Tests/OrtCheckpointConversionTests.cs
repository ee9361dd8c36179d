using SorsaOrt.Artifacts.OrtFormats;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

/// <summary>A run's checkpoint as an official one and back: the same bytes; what belongs elsewhere is refused by name.</summary>
public sealed class OrtCheckpointConversionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ArtifactSet _artifacts;

    public OrtCheckpointConversionTests() => _artifacts = SmallArtifacts.Build(At("artifacts"));

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void ThereAndBack_IsTheSameByteForByte(long step)
    {
        string ours = SmallArtifacts.Save(new CheckpointStore(At("run")), _artifacts, step);
        using var official = OrtCheckpoint.Open(Convert(ours));
        Assert.Equal(step, official.Optimizer?.Step ?? 0);

        string back = OrtCheckpointConversion.Read(official, _artifacts, At("back"));

        foreach (string file in Directory.GetFiles(ours).Where(f => step > 0 || !f.EndsWith(CheckpointFiles.Optimizer, StringComparison.Ordinal) && !f.EndsWith(CheckpointFiles.State, StringComparison.Ordinal)))
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(back, Path.GetFileName(file))));
        using var read = Checkpoint.Open(back, _artifacts);
        Assert.Equal(step, read.State.Step);
    }

    [Fact]
    public void CheckpointThatAnotherProgramBegan_GivesParametersAndMoments()
    {
        string path = At("official");
        using (var stream = File.Create(path))
            OrtCheckpointWriter.Write(stream, SmallArtifacts.Manifest.Parameters, FlatBuffers.View(SmallArtifacts.Values(5)));
        using var official = OrtCheckpoint.Open(path);

        using var read = Checkpoint.Open(OrtCheckpointConversion.Read(official, _artifacts, At("run")), _artifacts);

        float[] values = new float[SmallArtifacts.Elements], first = new float[SmallArtifacts.Elements], second = [.. SmallArtifacts.Values(1)];
        read.ReadParameters(FlatBuffers.Sink(values));
        read.ReadMoments(FlatBuffers.Sink(first), FlatBuffers.Sink(second));
        Assert.Equal(SmallArtifacts.Values(5), values);
        Assert.All(first.Concat(second), v => Assert.Equal(0, v));
    }

    [Fact]
    public void CheckpointOfOtherArtifacts_IsRefused_AndNothingIsWritten()
    {
        using var official = OrtCheckpoint.Open(Convert(SmallArtifacts.Save(new CheckpointStore(At("run")), _artifacts, 7)));
        var others = SmallArtifacts.Build(At("others"), SmallArtifacts.Manifest with { Seed = 1 });
        Assert.Contains("other artifacts", Assert.Throws<ArtifactMismatchException>(() => OrtCheckpointConversion.Read(official, others, At("back"))).Message, StringComparison.Ordinal);
        using var foreign = OrtCheckpoint.Open(Paths.Fixture("ort-training", "std-mlp-checkpoint"));
        Assert.Contains("'q.A' is missing", Assert.Throws<ArtifactMismatchException>(() => OrtCheckpointConversion.Read(foreign, _artifacts, At("back"))).Message, StringComparison.Ordinal);
        using var nominal = OrtCheckpoint.Open(Paths.Fixture("ort-training", "mlp-nominal_checkpoint"));
        Assert.Contains("nominal", Assert.Throws<ArtifactMismatchException>(() => OrtCheckpointConversion.Read(nominal, _artifacts, At("back"))).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("back")));
    }

    private string At(string name) => Path.Combine(_folder.Path, name);

    private string Convert(string ours)
    {
        string path = At("official");
        using var checkpoint = Checkpoint.Open(ours, _artifacts);
        using var stream = File.Create(path);
        OrtCheckpointConversion.Write(checkpoint, _artifacts, stream);
        return path;
    }
}
