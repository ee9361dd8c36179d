using SorsaOrt.TestSupport;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Artifacts that many tests read, built once for the process and never changed.</summary>
internal static class SmallModels
{
    private static readonly Lazy<TemporaryFolder> Folder = new(() => new TemporaryFolder());
    private static readonly Lazy<string> TinyMath = new(() => Build("tiny-math", Paths.TinyMath("model.onnx")));
    private static readonly Lazy<string> NanoLlama = new(() => Build("nano-llama", Paths.Fixture("nano-llama", "optimum-no-past.onnx")));

    /// <summary>Rank 2 on tiny-math, which the sample tokenizer belongs to.</summary>
    public static string TinyMathArtifacts => TinyMath.Value;

    /// <summary>Rank 2 on nano-llama.</summary>
    public static string NanoLlamaArtifacts => NanoLlama.Value;

    private static string Build(string name, string model)
    {
        var path = Folder.Value.At(name);
        Sorsa.Run("build-artifacts", "--model", model, "--out", path, "--rank", "2").Expect(0);
        return path;
    }
}
