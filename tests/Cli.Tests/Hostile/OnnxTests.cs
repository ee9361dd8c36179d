using SorsaOrt.Artifacts;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Every ONNX case through build-artifacts and inspect.</summary>
public sealed class OnnxTests
{
    private const int MostVariants = 40;

    public static TheoryData<string> Ids => Corpus.Ids("onnx");

    [Theory]
    [MemberData(nameof(Ids))]
    public void BuildArtifacts_DoesWhatTheCaseDemands(string id) =>
        Corpus.Check(Corpus.Get(id), MostVariants,
            (model, output) => Sorsa.Run("build-artifacts", "--model", model, "--out", output, "--rank", "4", "--threads", "1"), AssertFinite);

    [Theory]
    [MemberData(nameof(Ids))]
    public void Inspect_DescribesOrRefuses(string id)
    {
        var hostile = Corpus.Get(id);
        using var work = new TemporaryFolder();
        var outcome = Sorsa.Run("inspect", "--model", hostile.Materialize(work.Path)).ExpectNoTrace();
        Assert.InRange(outcome.ExitCode, 0, 2);
        Assert.True(hostile.Expect != "accept" || outcome.ExitCode == 0, outcome.Error);
        Assert.True(outcome.ExitCode == 0 || hostile.IsNamedBy(outcome.Error), outcome.Error);
        Assert.DoesNotContain(outcome.Out, c => char.IsControl(c) && c != '\n');
    }

    // Weights that a decomposition can stumble over end in numbers, or the model is refused.
    private static void AssertFinite(string folder)
    {
        var artifacts = ArtifactSet.Open(folder, Verification.Full);
        using var parameters = artifacts.OpenParameters();
        foreach (var parameter in artifacts.Manifest.Parameters)
            Assert.All(parameters.ReadFloats(parameter.Name), v => Assert.True(float.IsFinite(v), parameter.Name));
    }
}
