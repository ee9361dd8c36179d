using System.Text.Json;

namespace SorsaOrt.Benchmarks;

/// <summary>Where a run's time goes, from the profile that ONNX Runtime writes.</summary>
/// <remarks>Of each node the shortest of its runs counts, so that what else the machine does falls out.</remarks>
/// <param name="Operator">Operator type.</param>
/// <param name="Nodes">Nodes of that type run.</param>
/// <param name="Share">Of the time in all kernels, 0 to 1.</param>
internal sealed record OperatorShare(string Operator, int Nodes, double Share)
{
    private const string KernelTime = "_kernel_time";

    /// <summary>Reads profiles, largest share first.</summary>
    /// <param name="path">The JSON file.</param>
    /// <param name="runs">Runs it covers.</param>
    public static IReadOnlyList<OperatorShare> Read(string path, int runs)
    {
        var nodes = new Dictionary<string, (string Operator, int Runs, double Shortest)>(StringComparer.Ordinal);
        using var stream = File.OpenRead(path);
        using var profile = JsonDocument.Parse(stream);
        foreach (var entry in profile.RootElement.EnumerateArray())
        {
            if (entry.GetProperty("cat").GetString() != "Node" || entry.GetProperty("name").GetString() is not { } name || !name.EndsWith(KernelTime, StringComparison.Ordinal))
                continue;
            var time = entry.GetProperty("dur").GetDouble();
            var (op, count, shortest) = nodes.GetValueOrDefault(name, (entry.GetProperty("args").GetProperty("op_name").GetString() ?? "?", 0, time));
            nodes[name] = (op, count + 1, Math.Min(shortest, time));
        }
        var total = nodes.Values.Sum(n => n.Shortest);
        return [.. nodes.Values.GroupBy(n => n.Operator).Select(g => new OperatorShare(g.Key, g.Sum(n => n.Runs) / runs, g.Sum(n => n.Shortest) / total))
            .OrderByDescending(s => s.Share)];
    }
}
