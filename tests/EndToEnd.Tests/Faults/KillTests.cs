using Xunit;

namespace SorsaOrt.EndToEnd.Tests.Faults;

/// <summary>kill -9 at any moment loses at most the steps since the last save: the run goes on to the bytes it would have had, with nothing left over.</summary>
public sealed class KillTests(FaultRun runs) : IClassFixture<FaultRun>
{
    private const int Steps = 4;
    private const int Killed = 137;

    [Fact]
    public void KilledAtSomeChanges_EndsAsUndisturbed() => KillAtChanges(most: 4);

    [Fact(Explicit = true)]
    public void KilledAtEveryChange_EndsAsUndisturbed() => KillAtChanges(most: int.MaxValue);

    [Fact]
    public void KilledAgainWhileResuming_EndsAsUndisturbed() => KillTheResume(most: 2);

    [Fact(Explicit = true)]
    public void KilledAtEveryChangeOfTheResume_EndsAsUndisturbed() => KillTheResume(most: int.MaxValue);

    [Fact]
    public void KilledAtSomeTimes_EndsAsUndisturbed() => KillAtTimes(4, steps: 8);

    [Fact(Explicit = true)]
    public void KilledAtAHundredTimes_EndsAsUndisturbed() => KillAtTimes(100, steps: 40);

    [Fact]
    public void KilledWhileReplacingArtifacts_OneOfTheTwoIsWhole() => KillTheReplacement(most: 2);

    [Fact(Explicit = true)]
    public void KilledAtEveryChangeOfAReplacement_OneOfTheTwoIsWhole() => KillTheReplacement(most: int.MaxValue);

    private void KillAtChanges(int most)
    {
        FaultyProcess.SkipWhereMissing();
        var changes = runs.Changes;
        foreach (var at in Chosen(changes.Length, most))
        {
            var run = runs.Fresh("run");
            FaultyProcess.Run(run, Fault.Kill, at, null, runs.Train(run, Steps)).Expect(Killed);
            runs.EndsAsUndisturbed(run, Steps, runs.Whole, $"killed before change {at}, {changes[at - 1]}");
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{Math.Min(most, changes.Length)} kills at {changes.Length} changes");
    }

    private void KillTheResume(int most)
    {
        FaultyProcess.SkipWhereMissing();
        // Killed when step 3 was in the metrics and half of its checkpoint was written.
        var begun = runs.Fresh("run");
        var half = Array.FindIndex(runs.Changes, c => c.Contains(".step-3.", StringComparison.Ordinal) && c.EndsWith("optimizer.safetensors", StringComparison.Ordinal)) + 3;
        FaultyProcess.Run(begun, Fault.Kill, half, null, runs.Train(begun, Steps)).Expect(Killed);
        string Copy()
        {
            var run = runs.Fresh("run");
            CopyFolder(begun, run);
            return run;
        }
        var counted = Copy();
        var changes = FaultyProcess.Changes(counted + "/", "train", "--resume", counted).Length;
        foreach (var at in Chosen(changes, most))
        {
            var run = Copy();
            FaultyProcess.Run(run + "/", Fault.Kill, at, null, "train", "--resume", run).Expect(Killed);
            runs.EndsAsUndisturbed(run, Steps, runs.Whole, $"killed before change {at} of the resume");
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{Math.Min(most, changes)} kills at {changes} changes of a resume");
    }

    // Kills by the clock, some resumes too; what the moment hits differs from run to run, what it must come to does not.
    private void KillAtTimes(int count, int steps)
    {
        var whole = runs.Fresh("run");
        var clock = System.Diagnostics.Stopwatch.StartNew();
        FaultyProcess.Run(whole, Fault.None, 0, null, runs.Train(whole, steps)).Expect(0);
        var time = clock.ElapsedMilliseconds;
        var random = new Random(20261124);
        var kills = 0;
        for (var i = 0; i < count; i++)
        {
            var run = runs.Fresh("run");
            do
            {
                string[] arguments = File.Exists(Path.Combine(run, "run.json")) ? ["train", "--resume", run] : runs.Train(run, steps);
                using var process = FaultyProcess.Start(run, Fault.None, 0, null, arguments);
                _ = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
                _ = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
                if (!process.WaitForExit((int)random.NextInt64(time)))
                {
                    process.Kill();
                    kills++;
                }
                process.WaitForExit();
            }
            while (random.Next(3) == 0);
            runs.EndsAsUndisturbed(run, steps, whole, $"run {i}");
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{kills} kills in {count} runs of {time} ms");
    }

    private void KillTheReplacement(int most)
    {
        FaultyProcess.SkipWhereMissing();
        string[] Build(string output, int rank) => ["build-artifacts", "--model", Goldens.Model, "--out", output, "--rank", $"{rank}", "--targets", "q_proj", "--force"];
        var old = runs.Fresh("artifacts");
        Sorsa.Run(Build(old, 2)).Expect(0);
        var counted = runs.Fresh("artifacts");
        CopyFolder(old, counted);
        var changes = FaultyProcess.Changes(Path.GetDirectoryName(counted)! + "/", Build(counted, 3));
        foreach (var at in Chosen(changes.Length, most))
        {
            var output = runs.Fresh("artifacts");
            CopyFolder(old, output);
            FaultyProcess.Run(Path.GetDirectoryName(output)! + "/", Fault.Kill, at, null, Build(output, 3)).Expect(Killed);
            var found = Sorsa.Run("inspect", "--model", output);
            Assert.True(found.ExitCode == 0 && (found.Out.Contains("rank 2,", StringComparison.Ordinal) || found.Out.Contains("rank 3,", StringComparison.Ordinal)), $"killed before {changes[at - 1]}: {found.Error}");
            Sorsa.Run(Build(output, 3)).Expect(0);
            Assert.Equal(["artifacts"], Directory.GetFileSystemEntries(Path.GetDirectoryName(output)!).Select(Path.GetFileName));
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{Math.Min(most, changes.Length)} kills at {changes.Length} changes of a replacement");
    }

    /// <summary>Changes to try, from 1 on: all, or a few of them spread over all by a fixed seed.</summary>
    internal static IEnumerable<int> Chosen(int changes, int most)
    {
        if (most >= changes)
            return Enumerable.Range(1, changes);
        var random = new Random(20261124);
        return Enumerable.Range(0, most).Select(i => 1 + (int)((i + random.NextDouble()) * changes / most));
    }

    /// <summary>Copies a folder with all below it.</summary>
    internal static void CopyFolder(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var folder in Directory.GetDirectories(from))
            CopyFolder(folder, Path.Combine(to, Path.GetFileName(folder)));
        foreach (var file in Directory.GetFiles(from))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
    }
}
