using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>What a merge wrote.</summary>
/// <param name="Weights">Targets merged.</param>
/// <param name="Files">Full paths: the model, then its external data.</param>
/// <param name="Requantized">Those that went back into quantised form, in the order of the targets.</param>
public sealed record MergeReport(int Weights, IReadOnlyList<string> Files, IReadOnlyList<RequantizedTarget> Requantized);

/// <summary>What quantising a merged weight again cost. W is the merged weight, W' what was written, W₀ the weight as it arrived; Frobenius norms.</summary>
/// <param name="Module">The target.</param>
/// <param name="Type">Type of its integers.</param>
/// <param name="OfWeight">|W' − W| / |W|.</param>
/// <param name="OfChange">|W' − W| / |W − W₀|: from 1 on, rounding moved the weight as far as training did. 0 where training changed nothing.</param>
public sealed record RequantizedTarget(string Module, ElementType Type, double OfWeight, double OfChange);
