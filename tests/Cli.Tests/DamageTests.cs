using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests;

/// <summary>Every file of artifacts and checkpoint, damaged at random or exchanged for another: refused by name by every verb that reads it, with nothing written.</summary>
public sealed class DamageTests : IDisposable
{
    private readonly SmallRun _run = new();
    private readonly Random _random = new(20261124);
    private int _checked;

    [Fact]
    public void Artifacts()
    {
        Sorsa.Run("build-artifacts", "--model", Paths.Fixture("nano-llama", "optimum-no-past.onnx"), "--out", _run.At("others"), "--rank", "3").Expect(0);
        Func<CommandOutcome>[] verbs =
        [
            () => Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--out", _run.Merged),
            () => Sorsa.Run("train", "--artifacts", _run.Artifacts, "--data", _run.Data, "--out", _run.At("new"), "--max-steps", "1"),
            () => Sorsa.Run("train", "--resume", _run.Run),
            () => Sorsa.Run("inspect", "--model", _run.Artifacts),
            () => Sorsa.Run("evaluate", "--artifacts", _run.Artifacts, "--data", _run.Data),
            () => Sorsa.Run("generate", "--artifacts", _run.Artifacts, "--checkpoint", _run.Run, "--tokenizer", Paths.TinyMath("tokenizer.model"), "--prompt", "x"),
        ];
        CheckEveryFile(_run.Artifacts, _run.At("others"), verbs);
        Assert.False(Directory.Exists(_run.At("new")) || File.Exists(_run.Merged));
        verbs[0]().Expect(0); // Whole again.
    }

    [Fact]
    public void Checkpoint()
    {
        var named = new[] { "--artifacts", _run.Artifacts, "--checkpoint", _run.Checkpoint(2) };
        CheckEveryFile(_run.Checkpoint(2), _run.Checkpoint(1),
        [
            () => Sorsa.Run(["merge", .. named, "--out", _run.Merged]),
            () => Sorsa.Run(["evaluate", .. named, "--data", _run.Data]),
            () => Sorsa.Run(["generate", .. named, "--tokenizer", Paths.TinyMath("tokenizer.model"), "--prompt", "x"]),
        ]);
        Assert.False(File.Exists(_run.Merged));
        Sorsa.Run(["merge", .. named, "--out", _run.Merged]).Expect(0);
    }

    [Fact]
    public void CheckpointOfOtherArtifacts()
    {
        using var other = new SmallRun();
        foreach (var file in Directory.GetFiles(other.Checkpoint(2)))
            File.Copy(file, Path.Combine(_run.Checkpoint(2), Path.GetFileName(file)), overwrite: true);
        // The same artifacts built twice are the same: its checkpoint is good, though of another run.
        _run.Merge(_run.Checkpoint(2)).Expect(0);
        Sorsa.Run("train", "--resume", _run.Run).ExpectRefusal().Names("run.json");
        Sorsa.Run("build-artifacts", "--model", Paths.Fixture("nano-llama", "optimum-no-past.onnx"), "--out", _run.Artifacts, "--rank", "3", "--force").Expect(0);
        _run.Merge(_run.Checkpoint(2)).ExpectRefusal().Names("state.json", "other artifacts");
    }

    private void CheckEveryFile(string folder, string other, Func<CommandOutcome>[] verbs)
    {
        foreach (var path in Directory.GetFiles(folder).Order(StringComparer.Ordinal))
        {
            var good = File.ReadAllBytes(path);
            for (var i = 0; i < 4; i++)
            {
                var flipped = good.ToArray();
                flipped[_random.Next(good.Length)] ^= (byte)(1 << _random.Next(8));
                Check(path, flipped, "a bit flipped", verbs);
            }
            Check(path, good[.._random.Next(good.Length)], "cut", verbs);
            Check(path, [.. good, 0], "a byte longer", verbs);
            Check(path, [], "empty", verbs);
            Check(path, null, "gone", verbs);
            var foreign = File.ReadAllBytes(Path.Combine(other, Path.GetFileName(path)));
            if (!foreign.AsSpan().SequenceEqual(good) && Path.GetFileName(path) is not ("manifest.json" or "state.json"))
                Check(path, foreign, "of another folder", verbs);
            foreach (var sibling in Directory.GetFiles(folder).Where(f => f != path && _random.Next(3) == 0))
                Check(path, File.ReadAllBytes(sibling), "exchanged for " + Path.GetFileName(sibling), verbs);
            File.WriteAllBytes(path, good);
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{_checked} damages");
    }

    private void Check(string path, byte[]? bytes, string how, Func<CommandOutcome>[] verbs)
    {
        File.Delete(path);
        if (bytes is not null)
            File.WriteAllBytes(path, bytes);
        var outcome = verbs[_checked++ % verbs.Length]().ExpectNoTrace();
        Assert.True(outcome.ExitCode == 2 && outcome.Error.Contains(Path.GetFileName(path), StringComparison.Ordinal),
            $"{Path.GetFileName(path)} {how}: exit code {outcome.ExitCode}\n{outcome.Error}");
    }

    public void Dispose() => _run.Dispose();
}
