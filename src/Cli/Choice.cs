using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;

namespace SorsaOrt.Cli;

/// <summary>Reads options that name one of a few things.</summary>
internal static class Choice
{
    /// <summary>The value that <paramref name="text"/> names.</summary>
    /// <exception cref="UsageException">It names none; all are listed.</exception>
    public static T Of<T>(string option, string text, params ReadOnlySpan<(string Name, T Value)> choices)
    {
        foreach (var (name, value) in choices)
        {
            if (name == text)
                return value;
        }
        var names = new List<string>();
        foreach (var (name, _) in choices)
            names.Add(name);
        throw new UsageException($"--{option} '{Printable.Text(text)}' is none of {string.Join(", ", names)}.");
    }

    /// <summary>The element type that --residual-dtype names; null where it is left out.</summary>
    public static ElementType? ResidualType(string? text) => text is null ? null : Of("residual-dtype", text, ("fp32", ElementType.Float32), ("fp16", ElementType.Float16), ("bf16", ElementType.BFloat16),
        ("int8", ElementType.Int8), ("int4", ElementType.Int4));

    /// <summary>The element type that --compute-dtype names.</summary>
    /// <exception cref="UsageException">It names none, or a narrow one for a method without frozen weights.</exception>
    public static ElementType ComputeType(string text, AdapterMethod method)
    {
        var type = Of("compute-dtype", text, ("fp32", ElementType.Float32), ("fp16", ElementType.Float16), ("bf16", ElementType.BFloat16));
        return type == ElementType.Float32 || method != AdapterMethod.Full ? type
            : throw new UsageException($"--compute-dtype {text}: --method full trains the weights themselves, whose products stay fp32; leave it out.");
    }

    /// <summary>The device that <paramref name="text"/> names.</summary>
    /// <exception cref="UsageException">It names none, or one that this build does not hold: a bad option, not a failure of the work.</exception>
    public static Device Device(string text)
    {
        try
        {
            return Engines.Device.Parse(text);
        }
        catch (EngineException e)
        {
            throw new UsageException("--device: " + e.Message, e);
        }
    }

    /// <summary>A seed, from 0 on.</summary>
    public static long Seed(long seed) => seed >= 0 ? seed : throw new UsageException($"--seed {seed}: at least 0 is needed.");

    /// <summary>A number of threads; all processors when not given.</summary>
    public static int Threads(int? threads) => threads switch
    {
        null => Environment.ProcessorCount,
        >= 1 and <= 1024 => threads.Value,
        _ => throw new UsageException($"--threads {threads} is not between 1 and 1024."),
    };
}
