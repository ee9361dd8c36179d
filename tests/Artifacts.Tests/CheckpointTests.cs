using System.Runtime.InteropServices;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

public sealed class CheckpointTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ArtifactSet _artifacts;
    private readonly CheckpointStore _store;

    public CheckpointTests()
    {
        _artifacts = SmallArtifacts.Build(_folder.At("artifacts"));
        _store = new CheckpointStore(_folder.At("run"));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public unsafe void SaveThenOpen_GivesValuesMomentsAndState()
    {
        long bytes = SmallArtifacts.Elements * sizeof(float);
        void* native = NativeMemory.Alloc((nuint)bytes);
        try
        {
            SmallArtifacts.Values(7).CopyTo(new Span<float>(native, SmallArtifacts.Elements));
            using (CheckpointWriter writer = _store.Begin(_artifacts, 7))
            {
                writer.WriteParameters(FlatBuffers.View((nint)native, SmallArtifacts.Elements));
                writer.WriteMoments(FlatBuffers.View(SmallArtifacts.Values(100)), (offset, count) => SmallArtifacts.Values(200).AsSpan((int)offset, Math.Min(count, 3)));
                writer.WriteFile("extra/sampler.bin", stream => stream.Write("x"u8));
                writer.Commit(SmallArtifacts.State);
            }
            using Checkpoint checkpoint = Checkpoint.Open(_store.PathOf(7), _artifacts);
            float[] first = new float[SmallArtifacts.Elements], second = new float[SmallArtifacts.Elements];
            new Span<byte>(native, (int)bytes).Clear();
            checkpoint.ReadParameters(FlatBuffers.Sink((nint)native, SmallArtifacts.Elements));
            checkpoint.ReadMoments(FlatBuffers.Sink(first), FlatBuffers.Sink(second));
            Assert.Equal(SmallArtifacts.Values(7), new Span<float>(native, SmallArtifacts.Elements).ToArray());
            Assert.Equal(SmallArtifacts.Values(100), first);
            Assert.Equal(SmallArtifacts.Values(200), second);
            Assert.Equal(SmallArtifacts.Values(7)[8..10], checkpoint.Parameters.ReadFloats("q.S"));
            Assert.Equal((7, 128, 42, 1.25), (checkpoint.State.Step, checkpoint.State.MicroBatchIndex, checkpoint.State.Seed, checkpoint.State.BestEvalLoss));
            Assert.Equal(ulong.MaxValue, checkpoint.State.RandomState["dropout"]);
            Assert.Equal(2, checkpoint.State.Counters["evaluations_without_improvement"]);
            Assert.Equal(3e-5, checkpoint.State.Options["lr"].GetDouble());
        }
        finally
        {
            NativeMemory.Free(native);
        }
    }

    [Fact]
    public void Save_GivesTheSameBytesEachTime()
    {
        Dictionary<string, byte[]> once = SmallArtifacts.Contents(SmallArtifacts.Save(_store, _artifacts, 3));
        Dictionary<string, byte[]> again = SmallArtifacts.Contents(SmallArtifacts.Save(new CheckpointStore(_folder.At("other")), _artifacts, 3));
        Assert.All(once, file => Assert.Equal(file.Value, again[file.Key]));
    }

    [Fact]
    public void EverySingleBitFlip_IsRefusedNamingTheFile() =>
        Damage.EveryBit(SmallArtifacts.Save(_store, _artifacts, 3), () => Checkpoint.Open(_store.PathOf(3), _artifacts));

    [Fact]
    public void EveryTruncationGrowthDeletionZeroingAndSwap_IsRefused() =>
        Damage.EveryFile(SmallArtifacts.Save(_store, _artifacts, 3), () => Checkpoint.Open(_store.PathOf(3), _artifacts));

    [Fact]
    public void CheckpointOfOtherArtifacts_IsRefusedByNameAndNotPassedOver()
    {
        ArtifactSet other = SmallArtifacts.Build(_folder.At("other"), SmallArtifacts.Manifest with { Seed = 1 });
        SmallArtifacts.Save(_store, _artifacts, 1);
        SmallArtifacts.Save(_store, other, 2);
        foreach (Func<Checkpoint> open in (Func<Checkpoint>[])[() => Checkpoint.Open(_store.PathOf(2), _artifacts), () => _store.OpenNewest(_artifacts, out _)])
        {
            var refusal = Assert.Throws<ArtifactMismatchException>(open);
            Assert.True(refusal.BelongsElsewhere);
            Assert.Contains(other.Hash[..12], refusal.Message, StringComparison.Ordinal);
            Assert.Contains("step-2", refusal.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void DamagedNewest_IsPassedOverWithAWarningButRefusedWhenNamed()
    {
        SmallArtifacts.Save(_store, _artifacts, 9);
        SmallArtifacts.Save(_store, _artifacts, 10);
        string damaged = Path.Combine(_store.PathOf(10), CheckpointFiles.Optimizer);
        File.WriteAllBytes(damaged, File.ReadAllBytes(damaged)[..^1]);
        using (Checkpoint found = _store.OpenNewest(_artifacts, out IReadOnlyList<string> warnings))
        {
            Assert.Equal(9, found.State.Step);
            Assert.Contains(damaged, Assert.Single(warnings), StringComparison.Ordinal);
        }
        using (Checkpoint found = CheckpointStore.OpenNamed(_store.RunFolder, _artifacts))
            Assert.Equal(9, found.State.Step);
        Assert.Throws<ArtifactMismatchException>(() => CheckpointStore.OpenNamed(_store.PathOf(10), _artifacts));
        Directory.Delete(_store.PathOf(9), recursive: true);
        Assert.Contains(damaged, Assert.Throws<ArtifactMismatchException>(() => _store.OpenNewest(_artifacts, out _)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FilesLeftByAKilledSave_AreIgnoredAndSwept()
    {
        string good = SmallArtifacts.Save(_store, _artifacts, 3);
        File.WriteAllText(Path.Combine(good, "parameters.safetensors.tmp"), "half");
        string half = Path.Combine(_store.Folder, ".step-4.9999999-0123abcd.sorsa-tmp");
        Directory.CreateDirectory(half);
        File.WriteAllText(Path.Combine(half, CheckpointFiles.Parameters), "half");
        using (Checkpoint found = _store.OpenNewest(_artifacts, out IReadOnlyList<string> warnings))
        {
            Assert.Equal(3, found.State.Step);
            Assert.Empty(warnings);
        }
        Assert.Equal(1, _store.Sweep());
        Assert.False(Directory.Exists(half));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void SaveStoppedAtAnyStage_LeavesTheOlderOneOfThatStepWhole(int stage)
    {
        SmallArtifacts.Save(_store, _artifacts, 3);
        using (CheckpointWriter writer = _store.Begin(_artifacts, 3))
        {
            if (stage > 0)
                writer.WriteParameters(FlatBuffers.View(SmallArtifacts.Values(50)));
            if (stage > 1)
                writer.WriteMoments(FlatBuffers.View(SmallArtifacts.Values(50)), FlatBuffers.View(SmallArtifacts.Values(50)));
            if (stage > 2)
                Assert.Throws<IOException>(() => writer.WriteFile("extra", _ => throw new IOException("disk full")));
            if (stage < 2)
                Assert.Throws<InvalidOperationException>(() => writer.Commit(SmallArtifacts.State));
            using Checkpoint meanwhile = Checkpoint.Open(_store.PathOf(3), _artifacts);
            Assert.Equal(SmallArtifacts.Values(3)[..8], meanwhile.Parameters.ReadFloats("q.A"));
        }
        Assert.Equal(["step-3"], Directory.GetFileSystemEntries(_store.Folder).Select(Path.GetFileName));
    }

    [Fact]
    public void List_IsInOrderOfStepsAndKeepNewestRemovesTheRest()
    {
        foreach (long step in (long[])[100, 20, 3])
            SmallArtifacts.Save(_store, _artifacts, step);
        Directory.CreateDirectory(Path.Combine(_store.Folder, "step-007"));
        Directory.CreateDirectory(Path.Combine(_store.Folder, "notes"));
        Assert.Equal([3, 20, 100], _store.List().Select(c => c.Step));
        _store.KeepNewest(0);
        Assert.Equal(3, _store.List().Count);
        _store.KeepNewest(2);
        Assert.Equal([20, 100], _store.List().Select(c => c.Step));
        _store.RemoveAfter(20);
        Assert.Equal([20], _store.List().Select(c => c.Step));
        Assert.Equal(20, _store.NewestState().Step);
        Assert.Equal(["notes", "step-007", "step-20"], Directory.GetFileSystemEntries(_store.Folder).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void PathsWithoutACheckpoint_AreRefusedByName()
    {
        File.WriteAllText(_folder.At("file"), "");
        Assert.Contains("no checkpoint", Assert.Throws<ArtifactMismatchException>(() => _store.OpenNewest(_artifacts, out _)).Message, StringComparison.Ordinal);
        Assert.Contains("it is a file", Assert.Throws<ArtifactMismatchException>(() => CheckpointStore.OpenNamed(_folder.At("file"), _artifacts)).Message, StringComparison.Ordinal);
        Assert.Contains("does not exist", Assert.Throws<ArtifactMismatchException>(() => CheckpointStore.OpenNamed(_folder.At("absent"), _artifacts)).Message, StringComparison.Ordinal);
        Assert.Contains("state.json", Assert.Throws<ArtifactMismatchException>(() => CheckpointStore.OpenNamed(_artifacts.Folder, _artifacts)).Message, StringComparison.Ordinal);
    }
}
