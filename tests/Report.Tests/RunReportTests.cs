using SorsaOrt.Artifacts;
using SorsaOrt.TestSupport;
using SorsaOrt.Trainer;
using Xunit;

namespace SorsaOrt.Report.Tests;

public sealed class RunReportTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    private void WriteRun(params string[] metrics)
    {
        new RunRecord
        {
            Settings = new RunSettings { Artifacts = "gone", Data = "<script>rows</script>.jsonl" },
            ManifestHash = new string('0', 64),
            WorkingFolder = _run.Path,
            TotalSteps = 3,
            Inputs = [],
            Environment = RunEnvironment.Current(),
        }.Write(_run.Path);
        File.WriteAllLines(_run.At(CheckpointFiles.Metrics), metrics);
    }

    private static string Step(int step, double loss) =>
        FormattableString.Invariant($$"""{"step":{{step}},"epoch":0.1,"loss":{{loss}},"lr":0.001,"grad_norm":2.5,"ortho_loss":0.01,"tokens":100,"label_tokens":50,"tokens_per_second":10,"seconds":10}""");

    [Fact]
    public void Write_PutsChartsTablesAndSettingsIntoOneFileThatNeedsNoNetwork()
    {
        WriteRun(Step(1, 2.25), Step(2, 1.75), """{"step":2,"eval_loss":1.5,"eval_perplexity":4.48}""", Step(3, 1.125));
        RunReport.Write(_run.Path);

        var page = File.ReadAllText(_run.At(RunReport.Page));
        Assert.Contains("3 of 3 optimizer steps, 300 tokens", page, StringComparison.Ordinal);
        Assert.Contains("training loss 2.2500 → 1.1250; evaluation loss 1.5000", page, StringComparison.Ordinal);
        Assert.Equal(5, page.Split("<svg").Length - 1); // loss, rate, norm, orthonormality, speed
        Assert.Contains("<tr><td>2<td>1.75<td>0.001<td>2.5<td>0.01<td>10", page, StringComparison.Ordinal);
        Assert.Contains("<tr><td>training.learning rate<td>3E-05", page, StringComparison.Ordinal);
        Assert.Contains("<tr><td>onnx runtime<td>", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("src=", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<link", page, StringComparison.Ordinal);
        Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], File.ReadAllBytes(_run.At(RunReport.Picture))[..4]);
    }

    [Fact]
    public void Write_SaysWhyThereAreNoSingularValuesWhenTheArtifactsAreGone()
    {
        WriteRun(Step(1, 2));
        RunReport.Write(_run.Path);
        Assert.Contains("Not shown: ", File.ReadAllText(_run.At(RunReport.Page)), StringComparison.Ordinal);
    }

    [Fact]
    public void Write_RefusesARunWithoutAStepAndLeavesNothing()
    {
        WriteRun();
        var before = _run.Everything();
        Assert.Throws<InvalidDataException>(() => RunReport.Write(_run.Path));
        Assert.Equal(before, _run.Everything());
    }
}
