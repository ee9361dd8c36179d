using System.Globalization;

namespace SorsaOrt.Autodiff.Tests;

public sealed class RuleTests(ITestOutputHelper output)
{
    private static readonly RuleCheck[] Checks =
    [
        .. ElementwiseChecks.All, .. ActivationChecks.All, .. MatMulChecks.All, .. ReductionChecks.All, .. ShapeChecks.All,
        .. IndexingChecks.All, .. NormalizationChecks.All, .. RotaryChecks.All,
    ];

    public static TheoryData<string> Names => [.. Checks.Select(c => c.ToString())];

    public static TheoryData<string> SymbolicNames => [.. Checks.Where(c => c.Symbolic && c.Composed is null).Select(c => c.ToString())];

    [Theory]
    [MemberData(nameof(Names))]
    public void Rule_GradientAgreesWithFiniteDifferences(string name) => Verify(name, symbolic: false);

    [Theory]
    [MemberData(nameof(SymbolicNames))]
    public void Rule_GradientAgreesWithFiniteDifferencesWhereShapesAreSymbols(string name) => Verify(name, symbolic: true);

    [Fact]
    public void Table_EveryRuleHasACheck()
    {
        var used = Checks.Select(c => c.Op).ToHashSet();
        var rules = GradientTable.Standard().Differentiable.Select(r => r.Domain.Length > 0 ? $"{r.Domain}::{r.OpType}" : r.OpType).ToArray();
        Assert.NotEmpty(rules);
        Assert.Equal(rules.Order(StringComparer.Ordinal), used.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Checks_UseTheOperatorTheyAreNamedAfter()
    {
        Assert.Equal(Checks.Length, Checks.Select(c => c.ToString()).Distinct().Count());
        Assert.All(Checks, check =>
        {
            var test = new TestGraph(Ir.ElementType.Float32);
            check.Build(test);
            Assert.Contains(test.Op.Graph.Nodes, n => (n.Domain.Length > 0 ? $"{n.Domain}::{n.OpType}" : n.OpType) == check.Op);
        });
    }

    private void Verify(string name, bool symbolic)
    {
        var check = Checks.Single(c => c.ToString() == name);
        var error = check.Error(symbolic);
        output.WriteLine($"worst relative error {error.ToString("0.0e+0", CultureInfo.InvariantCulture)}");
        Assert.InRange(error, 0, check.Tolerance);
    }
}
