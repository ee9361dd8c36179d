using SorsaOrt.Artifacts.OrtFormats;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

/// <summary>Checkpoints of the official training runtime: its own are read, ours have its layout, broken ones are refused.</summary>
public sealed class OrtCheckpointTests
{
    private static readonly TrainedParameter[] Parameters =
    [
        new() { Name = "m.A", Module = "m", Part = ParameterPart.A, Shape = [2, 3], Offset = 0 },
        new() { Name = "m.S", Module = "m", Part = ParameterPart.S, Shape = [2], Offset = 6 },
    ];

    private static readonly float[] Values = [1, 2, 3, 4, 5, 6, 7, 8];

    [Theory]
    [InlineData("mlp-checkpoint", false)]
    [InlineData("std-mlp-checkpoint", false)]
    [InlineData("mlp-nominal_checkpoint", true)]
    public void CheckpointOfTheOfficialGenerator_IsRead(string name, bool nominal)
    {
        using var checkpoint = OrtCheckpoint.Open(Paths.Fixture("ort-training", name));
        Assert.Equal(nominal, checkpoint.IsNominal);
        Assert.Equal(["0.bias", "2.bias", "2.weight"], checkpoint.Trainable.Select(t => t.Name).Order(StringComparer.Ordinal));
        Assert.Equal(["0.weight"], checkpoint.Frozen.Select(t => t.Name));
        Assert.Null(checkpoint.Optimizer);
        foreach (var tensor in checkpoint.Trainable.Where(_ => !nominal))
            Assert.Equal(tensor.Shape.Aggregate(1L, (p, d) => p * d), checkpoint.Floats(tensor).Length);
    }

    [Fact]
    public void WrittenValues_AreReadAgain()
    {
        using var folder = new TemporaryFolder();
        string path = Write(folder, new OrtOptimizerValues(7, 0.25f, FlatBuffers.View([.. Values.Select(v => -v)]), FlatBuffers.View([.. Values.Select(v => v * v)])));
        using var checkpoint = OrtCheckpoint.Open(path);
        Assert.Equal(["m.A", "m.S"], checkpoint.Trainable.Select(t => t.Name));
        Assert.Equal([2, 3], checkpoint.Trainable[0].Shape);
        Assert.Equal(Values[..6], checkpoint.Floats(checkpoint.Trainable[0]).ToArray());
        Assert.Equal(Values[6..], checkpoint.Floats(checkpoint.Trainable[1]).ToArray());
        Assert.Equal((7L, 0.25f), (checkpoint.Optimizer!.Step, checkpoint.Optimizer.InitialLearningRate));
        Assert.Equal([-7, -8], checkpoint.Floats(checkpoint.Optimizer.FirstMoments["m.S"]).ToArray());
        Assert.Equal([49, 64], checkpoint.Floats(checkpoint.Optimizer.SecondMoments["m.S"]).ToArray());
    }

    [Fact]
    public void ExternalData_IsReadFromTheFileBesideIt_AndBoundedByIt()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "checkpoint");
        File.WriteAllBytes(path + ".data", [0, 0, 0, 0, 0, 0, 128, 63]);
        using var good = OrtCheckpoint.Open(WriteExternal(path, offset: 4));
        Assert.Equal([1f], good.Floats(good.Trainable[0]).ToArray());
        string message = Assert.Throws<ArtifactMismatchException>(() => OrtCheckpoint.Open(WriteExternal(path + "2", offset: 5, data: path + ".data"))).Message;
        Assert.Contains("'w'", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("mlp-checkpoint")]
    [InlineData("ours")]
    public void CutOrChangedFiles_AreRefusedInWordsOrReadWithinTheirBounds(string name)
    {
        using var folder = new TemporaryFolder();
        byte[] good = File.ReadAllBytes(name == "ours" ? Write(folder, null) : Paths.Fixture("ort-training", name));
        var cuts = Enumerable.Range(0, good.Length).Select(n => good[..n]);
        var changes = Enumerable.Range(0, good.Length).SelectMany(at => new byte[] { 0xFF, 1 }.Select(value => Changed(good, at, value)));
        int refused = 0;
        foreach (byte[] bytes in cuts.Concat(changes))
        {
            string path = Path.Combine(folder.Path, "broken");
            File.WriteAllBytes(path, bytes);
            try
            {
                using var checkpoint = OrtCheckpoint.Open(path);
                foreach (var tensor in checkpoint.Trainable.Concat(checkpoint.Frozen))
                    Assert.Equal(tensor.Length, checkpoint.Data(tensor).Length);
            }
            catch (ArtifactMismatchException e)
            {
                Assert.Contains("broken", e.Message, StringComparison.Ordinal);
                refused++;
            }
            catch (FileNotFoundException e)
            {
                Assert.Contains("broken.data", e.Message, StringComparison.Ordinal); // the bit that says the data lies elsewhere
            }
        }
        Assert.True(refused > good.Length, $"{refused} refused: every cut file and some changed ones should be");
    }

    private static byte[] Changed(byte[] bytes, int at, byte value)
    {
        byte[] changed = [.. bytes];
        changed[at] = value;
        return changed;
    }

    private static string Write(TemporaryFolder folder, OrtOptimizerValues? optimizer)
    {
        string path = Path.Combine(folder.Path, "checkpoint");
        using FileStream stream = File.Create(path);
        OrtCheckpointWriter.Write(stream, Parameters, FlatBuffers.View(Values), optimizer);
        return path;
    }

    private static string WriteExternal(string path, long offset, string? data = null)
    {
        if (data is not null)
            File.Copy(data, path + ".data");
        var tensor = new FlatTable().String(0, "w").Longs(2, [1]).Int(3, 1).Long(6, offset);
        var module = new FlatTable().Tables(0, [tensor]).Tables(1, []).Bool(3, true);
        using FileStream stream = File.Create(path);
        FlatWriter.Write(stream, "ODTC", new FlatTable().Int(0, 2).Table(1, module));
        return path;
    }
}
