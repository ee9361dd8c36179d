using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>What <c>build-artifacts</c> did.</summary>
/// <param name="Folder">The artifacts.</param>
/// <param name="Family">Exporter of the model.</param>
/// <param name="Parameters">Elements of all floating-point initializers of the model.</param>
/// <param name="Trainable">Elements of all trained parameters.</param>
/// <param name="Targets">The trained Linears.</param>
/// <param name="SvdSeconds">Time of the decompositions.</param>
/// <param name="TotalSeconds">Time of everything.</param>
/// <param name="TrainingNodes">Nodes of the training graph.</param>
public sealed record BuildReport(
    string Folder, string Family, long Parameters, long Trainable, IReadOnlyList<BuiltTarget> Targets, double SvdSeconds, double TotalSeconds, int TrainingNodes);

/// <summary>A trained Linear.</summary>
/// <param name="Name">Module path.</param>
/// <param name="In">Input features.</param>
/// <param name="Out">Output features.</param>
/// <param name="Rank">Adapter rank; 0 for full fine-tuning.</param>
/// <param name="Loss">What quantising its residual lost; null where it is stored as floats.</param>
/// <param name="StoredType">Element type of a weight that arrived quantised and stays frozen as it is; else null.</param>
public sealed record BuiltTarget(string Name, int In, int Out, int Rank, ResidualLoss? Loss, ElementType? StoredType = null);
