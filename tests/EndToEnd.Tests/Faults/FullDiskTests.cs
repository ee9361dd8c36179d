using Xunit;

namespace SorsaOrt.EndToEnd.Tests.Faults;

/// <summary>A full disk, a write cut short and an I/O error at the writes of every verb: exit code 1, path and cause in the message, nothing half-written left.</summary>
public sealed class FullDiskTests(FaultRun runs) : IClassFixture<FaultRun>
{
    private static readonly Fault[] Faults = [Fault.Full, Fault.Short, Fault.Io];

    /// <summary>Verbs that write one output, or the two of a report.</summary>
    public static TheoryData<string> Verbs => ["build-artifacts", "merge", "export", "report", "analyze"];

    [Theory]
    [InlineData("build-artifacts", Fault.Full)]
    [InlineData("merge", Fault.Short)]
    [InlineData("export", Fault.Io)]
    [InlineData("report", Fault.Full)]
    [InlineData("analyze", Fault.Io)]
    public void Output_IsWholeOrAbsent(string verb, Fault fault) => OutputIsWholeOrAbsent(verb, [fault], most: 1);

    [Theory(Explicit = true)]
    [MemberData(nameof(Verbs))]
    public void Output_IsWholeOrAbsent_AtEveryWrite(string verb) => OutputIsWholeOrAbsent(verb, Faults, most: int.MaxValue);

    [Fact]
    public void Train_KeepsItsEarlierCheckpoints() => TrainKeepsItsEarlierCheckpoints(most: 1);

    [Fact(Explicit = true)]
    public void Train_KeepsItsEarlierCheckpoints_AtEveryWrite() => TrainKeepsItsEarlierCheckpoints(most: int.MaxValue);

    private void OutputIsWholeOrAbsent(string verb, Fault[] faults, int most)
    {
        FaultyProcess.SkipWhereMissing();
        // Report writes into the run itself.
        string Output() => verb == "report" ? Copy(runs.Whole, runs.Fresh("run")) : runs.Fresh(verb is "merge" or "export" ? "model.onnx" : "out");
        string[] Arguments(string output) => verb switch
        {
            "build-artifacts" => ["build-artifacts", "--model", Goldens.Model, "--out", output, "--rank", "2", "--targets", "q_proj"],
            "merge" => ["merge", "--artifacts", runs.Artifacts, "--checkpoint", runs.Whole, "--out", output],
            "export" => ["export", "--from", runs.HuggingFace, "--out", output],
            "report" => ["report", "--run", output],
            _ => ["analyze", "--base", Goldens.Model, "--model", Goldens.Model, "--targets", "q_proj", "--out", output],
        };
        var counted = Output();
        var changes = FaultyProcess.Changes(Path.GetDirectoryName(counted)! + "/", Arguments(counted));
        var whole = FaultRun.Listing(Path.GetDirectoryName(counted)!);
        foreach (var (fault, at) in faults.SelectMany(f => Chosen(changes, f, most)))
        {
            var output = Output();
            var folder = Path.GetDirectoryName(output)!;
            var before = FaultRun.Listing(folder);
            var what = $"{verb}, {fault} at change {at}, {changes[at - 1]}";
            var outcome = FaultyProcess.Run(folder + "/", fault, at, null, Arguments(output));
            Refused(outcome, folder, fault, what);
            var after = FaultRun.Listing(folder);
            Assert.True(after.SequenceEqual(before) || after.All(whole.Contains), $"{what} left {string.Join(' ', after)}");
            // Whatever stands there is an output that was complete before the error, or the start anew succeeds.
            if (after.SequenceEqual(before))
                Sorsa.Run(Arguments(output)).Expect(0);
        }
    }

    private void TrainKeepsItsEarlierCheckpoints(int most)
    {
        const int Steps = 4;
        FaultyProcess.SkipWhereMissing();
        var changes = runs.Changes;
        foreach (var (fault, at) in Faults.SelectMany(f => Chosen(changes, f, most)))
        {
            var run = runs.Fresh("run");
            var what = $"train, {fault} at change {at}, {changes[at - 1]}";
            Refused(FaultyProcess.Run(run, fault, at, null, runs.Train(run, Steps)), run, fault, what);
            if (fault != Fault.Io) // Of a failed fsync or rename the temporary file may be the one that cannot be removed.
                Assert.True(!FaultRun.Listing(run).Any(f => f.Contains("sorsa-tmp", StringComparison.Ordinal)), $"{what} left {string.Join(' ', FaultRun.Listing(run))}");
            runs.EndsAsUndisturbed(run, Steps, runs.Whole, what);
        }
    }

    private static void Refused(TestSupport.CommandOutcome outcome, string folder, Fault fault, string what)
    {
        Assert.True(outcome.ExitCode == 1, $"{what}: exit code {outcome.ExitCode}\n{outcome.Error}");
        outcome.ExpectNoTrace();
        var message = outcome.Error.TrimEnd().Split('\n')[^1];
        Assert.True(message.StartsWith("sorsa: ", StringComparison.Ordinal) && message.Contains(folder, StringComparison.Ordinal)
            && message.Contains(fault == Fault.Io ? "Input/output error" : "No space left on device", StringComparison.Ordinal), $"{what}: {message}");
    }

    private static IEnumerable<(Fault Fault, int At)> Chosen(string[] changes, Fault fault, int most)
    {
        // A full disk refuses what needs space; what removes a file may fail with an I/O error, but then the file stays.
        int[] candidates = [.. Enumerable.Range(1, changes.Length).Where(i => (changes[i - 1].Split(' ')[0], fault) switch
        {
            ("unlink" or "rmdir", _) => false,
            ("rename" or "exchange" or "ftruncate" or "ftruncate64", Fault.Full) => false,
            (var call, Fault.Short) => call.Contains("write", StringComparison.Ordinal),
            _ => true,
        })];
        return KillTests.Chosen(candidates.Length, most).Select(chosen => (fault, candidates[chosen - 1]));
    }

    private static string Copy(string from, string to)
    {
        KillTests.CopyFolder(from, to);
        return to;
    }
}
