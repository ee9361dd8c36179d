using SorsaOrt.Artifacts;

namespace SorsaOrt.Report;

/// <summary>The trained singular values of one target, where training started and where it stands.</summary>
/// <param name="Module">Module path of the Linear.</param>
/// <param name="Role">Its role, such as q_proj.</param>
/// <param name="Start">S [r] as built.</param>
/// <param name="End">S [r] in the checkpoint.</param>
public sealed record SingularValues(string Module, string Role, float[] Start, float[] End)
{
    /// <summary>mean|S_end − S_start|.</summary>
    public double MeanMove => Start.Zip(End, (a, b) => Math.Abs((double)b - a)).DefaultIfEmpty().Average();

    /// <summary>Every target of SORSA artifacts, from the parameters as built and those of a run's newest checkpoint; empty for other methods.</summary>
    /// <exception cref="ArtifactMismatchException">The artifacts or every checkpoint are damaged, or do not belong together.</exception>
    public static IReadOnlyList<SingularValues> Read(ArtifactSet artifacts, string runFolder)
    {
        if (artifacts.Manifest.Method != TrainingMethod.Sorsa)
            return [];
        using var start = artifacts.OpenParameters();
        using var end = CheckpointStore.OpenNamed(runFolder, artifacts);
        return [.. artifacts.Manifest.Targets.Select(t =>
            new SingularValues(t.Module, t.Role, start.ReadFloats(t.Module + ".S"), end.Parameters.ReadFloats(t.Module + ".S")))];
    }
}
