using SorsaOrt.Ir;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Models whose weights arrive quantised.</summary>
public sealed class QuantizedWeightsTests
{
    [Fact]
    public void AreRefusedInWords_AndNothingIsWritten()
    {
        if (Paths.SharedOrNull is null)
            Assert.Skip("../shared is absent");
        using var folder = new TemporaryFolder();
        var options = new BuildOptions { ModelPath = Paths.Shared("exports", "nano-llama-hd16", "genai-int4-cpu", "model.onnx"), OutputFolder = folder.At("artifacts"), Rank = 4 };
        var refusal = Assert.Throws<UnsupportedGraphException>(() => ArtifactBuilder.Build(options));
        Assert.Contains("MatMulNBits", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("'/model/layers.0/", refusal.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(options.OutputFolder));
    }
}
