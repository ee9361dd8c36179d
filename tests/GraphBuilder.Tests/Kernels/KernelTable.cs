using System.Globalization;
using SorsaOrt.Ir;
using SorsaOrt.TestSupport;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>The kernels of one execution provider, as the .txt files beside this one list them.</summary>
internal sealed class KernelTable
{
    private static readonly Dictionary<string, int> Versions = Lines("opset21.txt").ToDictionary(l => l[0], l => Number(l[1]));
    private readonly Dictionary<string, Kernel> _kernels;

    public KernelTable(string provider, string all)
    {
        Provider = provider;
        _kernels = Lines(provider + ".txt").ToDictionary(l => l[0], l => new Kernel(l[1], l[2], l[3..], all));
    }

    public string Provider { get; }

    /// <summary>Why the provider has no kernel for a node; null where it has one.</summary>
    public string? Missing(Node node)
    {
        var name = node.Domain.Length == 0 ? node.OpType : $"{node.Domain}::{node.OpType}";
        return _kernels.TryGetValue(name, out var kernel) && Versions.TryGetValue(name, out var version)
            ? kernel.Refusal(version, node) is { } refusal ? $"{name} {refusal}" : null : $"{name} is in no table";
    }

    private static IEnumerable<string[]> Lines(string file) => File.ReadLines(Path.Combine(Paths.Repository, "tests", "GraphBuilder.Tests", "Kernels", file))
        .Where(l => l.Length > 0 && l[0] != '#').Select(l => l.Split(' '));

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private sealed class Kernel
    {
        private readonly (int First, int Last) _versions;
        private readonly string[] _inputs;
        private readonly string[] _outputs;
        private readonly Dictionary<char, string[]> _types;

        public Kernel(string versions, string signature, string[] types, string all)
        {
            var ends = versions.Trim('[', ']', '+').Split(',');
            _versions = (Number(ends[0]), Number(ends[^1])); // "18+": as the kernel registry has it, that version and no later one
            (_inputs, _outputs) = (signature.Split("->")[0].Split(','), signature.Split("->")[1].Split(','));
            _types = types.ToDictionary(t => t[0], t => (t[2..] == "all" ? all : t[2..]).Split(','));
        }

        public string? Refusal(int version, Node node) => version < _versions.First || version > _versions.Last
            ? $"of version {version}: the kernel is of {_versions.First}" : Refusal(_inputs, node.Inputs, "input") ?? Refusal(_outputs, node.Outputs, "output");

        private string? Refusal(string[] signature, IReadOnlyList<Value?> values, string side)
        {
            for (var i = 0; i < values.Count; i++)
            {
                var place = signature[Math.Min(i, signature.Length - 1)];
                if (i >= signature.Length && !place.EndsWith('*'))
                    return $"with {values.Count} {side}s";
                if (values[i] is { } value && !_types[place[0]].Contains(value.ElementType.ShortName()))
                    return $"with {value.ElementType.ShortName()} as {side} {i}";
            }
            return null;
        }
    }
}
