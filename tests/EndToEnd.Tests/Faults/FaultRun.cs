using System.Text.Json;
using SorsaOrt.Export.Tests;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests.Faults;

/// <summary>Artifacts of nano-llama, rows, and a training run of theirs that nothing disturbed, which disturbed ones must equal.</summary>
public sealed class FaultRun : IDisposable
{
    private readonly ScratchFolder _scratch = new();
    private readonly Lazy<string> _huggingFace;
    private readonly Lazy<string[]> _changes;
    private int _folders;

    /// <summary>Builds and trains.</summary>
    public FaultRun()
    {
        _changes = new(() =>
        {
            var run = Fresh("run");
            return FaultyProcess.Changes(run, Train(run, 4));
        });
        _huggingFace = new(() => ModelFolder.NanoLlama(_scratch["nano"]));
        File.WriteAllLines(Rows, Enumerable.Range(0, 12).Select(i => $$"""{"input_ids": [1, {{403 + i}}, 407, 261, 378], "labels": [-100, -100, 407, 261, 378]}"""));
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", Artifacts, "--rank", "2", "--targets", "q_proj,v_proj").Expect(0);
        Sorsa.Run(Train(Whole, 4)).Expect(0);
    }

    /// <summary>The changes that such a run of four steps makes to its folder.</summary>
    public string[] Changes => _changes.Value;

    /// <summary>Folder of the artifacts.</summary>
    public string Artifacts => _scratch["artifacts"];

    /// <summary>Rows to train on.</summary>
    public string Rows => _scratch["rows.jsonl"];

    /// <summary>The undisturbed run of four steps.</summary>
    public string Whole => _scratch["whole"];

    /// <summary>nano-llama as a Hugging Face folder.</summary>
    public string HuggingFace => _huggingFace.Value;

    /// <summary>A fresh path, whose folder exists and holds nothing else.</summary>
    public string Fresh(string name)
    {
        var folder = Directory.CreateDirectory(_scratch[$"{++_folders}"]).FullName;
        return Path.Combine(folder, name);
    }

    /// <summary>Arguments of a run that saves at every step and keeps two checkpoints.</summary>
    public string[] Train(string run, int steps) =>
    [
        "train", "--artifacts", Artifacts, "--data", Rows, "--out", run, "--max-steps", $"{steps}", "--batch-size", "2", "--accumulation", "1", "--lr", "1e-3", "--warmup", "0",
        "--eval-data", Rows, "--eval-every", "2", "--save-every", "1", "--keep", "2", "--threads", "1", "--seed", "7",
    ];

    /// <summary>Resumes a disturbed run, or begins it anew where it had not begun, and compares the end with the undisturbed run's.</summary>
    public void EndsAsUndisturbed(string run, int steps, string whole, string what)
    {
        var again = File.Exists(Path.Combine(run, "run.json")) ? Sorsa.Run("train", "--resume", run) : Sorsa.Run(Train(run, steps));
        Assert.True(again.ExitCode == 0, $"{what}: {again.Error}");
        Assert.True(Listing(whole).SequenceEqual(Listing(run)), $"{what}: {string.Join(' ', Listing(run))}");
        foreach (var file in Listing(whole).Where(f => f.StartsWith("checkpoints/step-", StringComparison.Ordinal) && File.Exists(Path.Combine(run, f))))
            Assert.True(File.ReadAllBytes(Path.Combine(whole, file)).AsSpan().SequenceEqual(File.ReadAllBytes(Path.Combine(run, file))), $"{what}: {file} differs");
        Assert.Equal(Metrics(whole), Metrics(run));
    }

    /// <summary>Files and folders below a folder, in order.</summary>
    public static IReadOnlyList<string> Listing(string folder) => !Directory.Exists(folder) ? [] :
        [.. Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(folder, f)).Order(StringComparer.Ordinal)];

    /// <inheritdoc/>
    public void Dispose() => _scratch.Dispose();

    private static string[] Metrics(string run) => [.. File.ReadLines(Path.Combine(run, "metrics.jsonl")).Select(line =>
        string.Join(' ', JsonDocument.Parse(line).RootElement.EnumerateObject().Where(p => p.Name is not ("seconds" or "tokens_per_second"))))];
}
