namespace SorsaOrt.Artifacts;

/// <summary>Names inside a run folder.</summary>
public static class CheckpointFiles
{
    /// <summary>Folder of the checkpoints inside a run.</summary>
    public const string Folder = "checkpoints";
    /// <summary>Where the run stands.</summary>
    public const string State = "state.json";
    /// <summary>Parameters by name.</summary>
    public const string Parameters = "parameters.safetensors";
    /// <summary>Adam's moments by prefix and parameter name.</summary>
    public const string Optimizer = "optimizer.safetensors";
    /// <summary>A line per step.</summary>
    public const string Metrics = "metrics.jsonl";
    /// <summary>Prefix of first moments in <see cref="Optimizer"/>.</summary>
    public const string FirstMoment = "first_moment.";
    /// <summary>Prefix of second moments in <see cref="Optimizer"/>.</summary>
    public const string SecondMoment = "second_moment.";

    internal static readonly string[] Required = [Parameters, Optimizer];
}
