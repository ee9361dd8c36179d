using System.Globalization;
using SorsaOrt.GraphBuilder.Memory;

namespace SorsaOrt.Cli.Verbs;

/// <summary>A memory plan as people and programs read it.</summary>
internal static class MemoryTable
{
    /// <summary>Prints the plan.</summary>
    public static void Print(Terminal terminal, MemoryPlan plan)
    {
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"memory of training on {plan.Lengths.Batch} × {plan.Lengths.Sequence} tokens, {plan.Lengths.Labels} of them with a label (CPU):"));
        Row("program and runtime", plan.Runtime, "");
        Row("frozen weights", plan.FrozenWeights, "mapped from the file");
        if (plan.PackedWeights > 0)
            Row("packed weights", plan.PackedWeights, "more than the weights themselves; none with --no-pack-weights");
        Row("adapters", plan.Adapters, "");
        Row("gradients", plan.Gradients, "");
        Row("moments", plan.Moments, "");
        Row("activations", plan.Activations.ResidentBytes, string.Create(CultureInfo.InvariantCulture, $"{plan.Activations.PeakBytes / (1 << 20):N0} MB at one time, at {plan.Activations.PeakNode?.OpType}; the arena's gaps beside them"));
        Row("optimizer workspace", plan.OptimizerWorkspace, "when the activations are gone");
        Row("peak", plan.Total, plan.Activations.UnknownValues == 0 ? "" : $"at least: the sizes of {plan.Activations.UnknownValues} values are not known");

        void Row(string what, long bytes, string remark) =>
            terminal.Result(string.Create(CultureInfo.InvariantCulture, $"  {what,-20}{bytes / (1 << 20),8:N0} MB  {remark}").TrimEnd());
    }

    /// <summary>The plan for <c>--json</c>, in bytes.</summary>
    public static object Json(MemoryPlan plan) => new
    {
        BatchSize = plan.Lengths.Batch,
        MaxLength = plan.Lengths.Sequence,
        plan.Lengths.Labels,
        plan.Runtime,
        plan.FrozenWeights,
        plan.PackedWeights,
        plan.Adapters,
        plan.Gradients,
        plan.Moments,
        Activations = plan.Activations.ResidentBytes,
        ActivationsAtOneTime = plan.Activations.PeakBytes,
        plan.OptimizerWorkspace,
        Peak = plan.Total,
        UnknownSizes = plan.Activations.UnknownValues,
    };
}
