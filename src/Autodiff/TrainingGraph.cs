using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff;

/// <summary>A graph that computes a loss and its gradients.</summary>
/// <param name="Graph">The forward graph with the gradient nodes after it.</param>
/// <param name="Loss">The differentiated value.</param>
/// <param name="Gradients">For each parameter asked for, in the order asked, the gradient of the loss; same type and shape as the parameter.</param>
public sealed record TrainingGraph(Graph Graph, Value Loss, IReadOnlyList<ParameterGradient> Gradients);

/// <summary>A parameter and the gradient of the loss with respect to it.</summary>
/// <param name="Parameter">Any float value of the graph: an initializer, an input, or an intermediate value.</param>
/// <param name="Gradient">dLoss/dParameter, in the parameter's element type and shape.</param>
public readonly record struct ParameterGradient(Value Parameter, Value Gradient);
