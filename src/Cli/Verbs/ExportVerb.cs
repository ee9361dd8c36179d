using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Export;

namespace SorsaOrt.Cli.Verbs;

[Verb("export", HelpText = "Make an ONNX model of a Hugging Face folder or a GGUF file.")]
internal sealed class ExportVerb : VerbOptions
{
    [Option("from", Required = true, MetaValue = "DIR|FILE.gguf", HelpText = "A folder with config.json and *.safetensors, or a GGUF file.")]
    public string From { get; set; } = "";

    [Option("out", Required = true, MetaValue = "model.onnx", HelpText = "The model; weights over 1 GiB lie beside it in model.onnx.data.")]
    public string Out { get; set; } = "";

    [Option("dtype", Default = "fp32", MetaValue = "fp32|fp16|bf16", HelpText = "How matrices are stored; all are computed with in fp32.")]
    public string ElementType { get; set; } = "fp32";

    [Option("kv-cache", HelpText = "With past_key_values inputs and present outputs, for generation.")]
    public bool KeyValueCache { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        var clock = Stopwatch.StartNew();
        var report = ModelExporter.Export(new ExportOptions
        {
            Source = From,
            OutputPath = Out,
            WeightType = Choice.Of("dtype", ElementType, ("fp32", Ir.ElementType.Float32), ("fp16", Ir.ElementType.Float16), ("bf16", Ir.ElementType.BFloat16)),
            KeyValueCache = KeyValueCache,
            Force = Force,
        });
        var peak = Process.GetCurrentProcess().PeakWorkingSet64;
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"{string.Join(", ", report.Files)}: {report.Architecture}, {report.Layers} layers, {report.Parameters:N0} parameters, {report.Bytes >> 20:N0} MB in {Terminal.Duration(clock.Elapsed)}, peak {peak >> 20} MB"));
        if (Json)
        {
            terminal.ResultJson(new
            {
                report.Architecture,
                report.Layers,
                report.Parameters,
                report.Bytes,
                report.Files,
                Seconds = clock.Elapsed.TotalSeconds,
                PeakMemoryBytes = peak,
            });
        }
        return ExitCode.Done;
    }
}
