using System.Diagnostics;
using CommandLine;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Benchmarks;

/// <summary>The model that <see cref="LargeModel"/> makes.</summary>
[Verb("large-model", HelpText = "Write a model of random weights in the shape of Llama 2 7B, fp16 external data.")]
public sealed class LargeModelOptions
{
    [Option("out", Required = true, HelpText = "Path of the model; its data lies beside it.")]
    public string Out { get; set; } = "";

    [Option("layers", Default = 32, HelpText = "Transformer blocks; a block takes 405 MB, embedding and head 524 MB.")]
    public int Layers { get; set; } = 32;
}

/// <summary>Writes a large model for measurements of <c>build-artifacts</c> and <c>merge</c>.</summary>
public static class LargeModel
{
    /// <summary>Writes it and says how large it is.</summary>
    public static string Write(LargeModelOptions options)
    {
        var watch = Stopwatch.StartNew();
        var llama = RandomLlama.Llama7B with { Layers = options.Layers };
        llama.Write(options.Out);
        return $"{options.Out}: {options.Layers} layers, {llama.DataBytes / 1e9:0.0} GB of weights, written in {watch.Elapsed.TotalSeconds:0} s";
    }
}
