using SorsaOrt.Artifacts;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Benchmarks;

/// <summary>Floating-point operations that a step needs, in 10⁹, whatever the graph really does.</summary>
/// <param name="Layers">4·N a token, N the weights of the Linears but the head: forward, and the gradient of their inputs; 6·N where they are trained themselves.</param>
/// <param name="Head">The vocabulary projection at label positions, forward and backward.</param>
/// <param name="Attention">Both products of attention, forward and backward, without use of the causal half.</param>
/// <param name="Adapters">6·r·(in + out) a token and target.</param>
internal sealed record StepWork(double Layers, double Head, double Attention, double Adapters)
{
    /// <summary>Without the adapters: the count that systems are compared by.</summary>
    public double Compared => Layers + Head + Attention;

    /// <summary>Counts for a batch.</summary>
    public static StepWork Of(ArtifactSet artifacts, int batchSize, int length, int labels)
    {
        var manifest = artifacts.Manifest;
        using var model = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.EvalModel));
        double tokens = (double)batchSize * length, layers = 0, head = 0;
        foreach (var node in model.Graph.Nodes.Where(n => n.Is("Gemm") || n.Is("MatMul")))
        {
            if (node.Inputs[1]?.Constant is not { Shape: [var rows, var columns] })
                continue;
            if (rows == manifest.VocabularySize || columns == manifest.VocabularySize)
                head += 4.0 * rows * columns * labels;
            else
                layers += 4.0 * rows * columns * tokens;
        }
        if (manifest.Method == TrainingMethod.Full)
            layers += 6.0 * manifest.ParameterCount * tokens;
        var width = manifest.Targets.FirstOrDefault(t => t.Role == "q_proj")?.Out ?? manifest.HiddenSize;
        var attention = 12.0 * tokens * length * width * manifest.Layers;
        var adapters = manifest.Targets.Sum(t => 6.0 * t.Rank * (t.In + t.Out)) * tokens;
        return new StepWork(layers / 1e9, head / 1e9, attention / 1e9, adapters / 1e9);
    }
}
