namespace SorsaOrt.Merge.LoraDelta;

/// <summary>What an export of an adapter wrote.</summary>
/// <param name="Targets">Linears with a delta.</param>
/// <param name="Rank">Rank of the deltas, the largest where they differ.</param>
/// <param name="LeftOut">Share of the change (Frobenius norm over all targets) that no adapter of this rank holds; 0 where no residual was rounded.</param>
/// <param name="Files">Full paths, the adapter first.</param>
public sealed record AdapterReport(int Targets, int Rank, double LeftOut, IReadOnlyList<string> Files);
