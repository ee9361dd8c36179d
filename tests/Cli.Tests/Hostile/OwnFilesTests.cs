using System.Text.Json.Nodes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Files that the tool itself wrote, damaged as the corpus says (kinds config-text and checkpoint), through the verbs that read them.</summary>
public sealed class OwnFilesTests : IClassFixture<OwnFilesTests.Fixture>
{
    /// <summary>One run for all cases: every case puts back what it changed.</summary>
    public sealed class Fixture : IDisposable
    {
        internal SmallRun Run { get; } = new();

        public void Dispose() => Run.Dispose();
    }

    private readonly SmallRun _run;

    public OwnFilesTests(Fixture fixture) => _run = fixture.Run;

    public static TheoryData<string> TextIds => Corpus.Ids("config-text");

    public static TheoryData<string> CheckpointIds => HostileCorpus.Load("checkpoint") is { Count: > 0 } cases
        ? [.. cases.Where(c => c.Json["mutate"]!["op"]!.GetValue<string>() is "flip" or "each-file" or "version").Select(c => c.Id)] : ["absent"];

    [Theory]
    [MemberData(nameof(TextIds))]
    public void EveryJsonFile_IsRefusedByName(string id)
    {
        var mutate = Corpus.Get(id).Json["mutate"]!.AsObject();
        CheckEach(mutate, Path.Combine(_run.Artifacts, "manifest.json"), () => Sorsa.Run("inspect", "--model", _run.Artifacts), mayAccept: false);
        CheckEach(mutate, Path.Combine(_run.Run, "run.json"), _run.Resume, mayAccept: false);
        CheckEach(mutate, Path.Combine(_run.Checkpoint(2), "state.json"), () => _run.Merge(_run.Checkpoint(2)), mayAccept: false);
    }

    [Theory]
    [MemberData(nameof(CheckpointIds))]
    public void EveryDamageOfACheckpoint_IsRefusedByName(string id)
    {
        var mutate = Corpus.Get(id).Json["mutate"]!.AsObject();
        var files = Directory.GetFiles(_run.Checkpoint(2)).Order(StringComparer.Ordinal).ToArray();
        switch (mutate["op"]!.GetValue<string>())
        {
            case "flip":
                for (var k = 0; k < mutate["seeds"]!.GetValue<int>(); k++)
                {
                    var file = files[k % files.Length];
                    Check(file, HostileCase.Flip(File.ReadAllBytes(file), mutate["seed"]!.GetValue<long>(), 1, 0, k), () => _run.Merge(_run.Checkpoint(2)));
                }
                break;
            case "version":
                var state = Path.Combine(_run.Checkpoint(2), "state.json");
                Check(state, File.ReadAllText(state).Replace("\"format_version\": 1", $"\"format_version\": {mutate["value"]}", StringComparison.Ordinal), () => _run.Merge(_run.Checkpoint(2)));
                break;
            case "each-file" when mutate["do"]!["op"]!.GetValue<string>() == "delete":
                foreach (var file in files)
                    Check(file, null as byte[], () => _run.Merge(_run.Checkpoint(2)));
                break;
            default:
                foreach (var file in files)
                    CheckEach(mutate["do"]!.AsObject(), file, () => _run.Merge(_run.Checkpoint(2)), mayAccept: false);
                break;
        }
    }

    private static void CheckEach(JsonObject mutate, string file, Func<CommandOutcome> use, bool mayAccept)
    {
        foreach (var bad in JsonMutations.Of(mutate, File.ReadAllBytes(file)))
            Check(file, bad, use, mayAccept);
    }

    private static void Check(string file, string text, Func<CommandOutcome> use) => Check(file, System.Text.Encoding.UTF8.GetBytes(text), use);

    private static void Check(string file, byte[]? bytes, Func<CommandOutcome> use, bool mayAccept = false)
    {
        var good = File.ReadAllBytes(file);
        Assert.False(good.AsSpan().SequenceEqual(bytes));
        try
        {
            File.Delete(file);
            if (bytes is not null)
                File.WriteAllBytes(file, bytes);
            var outcome = use().ExpectNoTrace();
            if (mayAccept && outcome.ExitCode == 0)
                return;
            Assert.True(outcome.ExitCode == 2, $"{file} was accepted (exit code {outcome.ExitCode}):\n{outcome.Error}\nchanged to {System.Text.Encoding.UTF8.GetString(bytes ?? []):600}");
            Assert.Contains(Path.GetFileName(file), outcome.Error, StringComparison.Ordinal);
        }
        finally
        {
            File.WriteAllBytes(file, good);
        }
    }
}
