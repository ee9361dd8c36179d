using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>One case of the gradient check of a rule.</summary>
/// <param name="Op">The operator whose rule it checks; with <c>com.microsoft::</c> in front where that is the domain.</param>
/// <param name="Case">What is special about it.</param>
/// <param name="Build">The function.</param>
internal sealed record RuleCheck(string Op, string Case, Func<TestGraph, Value> Build)
{
    /// <summary>The same function from other operators, for those without a float64 kernel: gradients are compared in float32.</summary>
    public Func<TestGraph, Value>? Composed { get; init; }

    /// <summary>Whether the rule works from run-time shapes alone.</summary>
    public bool Symbolic { get; init; } = true;

    /// <summary>Operator set that has the operator.</summary>
    public long Opset { get; init; } = OpBuilder.WorkingOpset;

    /// <summary>Largest relative error.</summary>
    public double Tolerance => Composed is null ? 1e-6 : 3e-6;

    /// <summary>The worst relative error.</summary>
    public double Error(bool symbolic) => Composed is null
        ? GradientCheck.Vjp(Build, symbolic, Opset) : GradientCheck.SameGradients(Build, Composed, Opset);

    public override string ToString() => $"{Op} ({Case})";
}
