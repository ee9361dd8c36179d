using System.Text.RegularExpressions;

namespace SorsaOrt.GraphBuilder;

/// <summary>Which Linears are trained.</summary>
public static class TargetSelection
{
    /// <summary>The seven projections of a Llama block.</summary>
    public const string Default = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj";

    /// <summary>Refuses a rank above the smaller side of a target.</summary>
    /// <exception cref="TargetException">With the largest rank that fits.</exception>
    public static void CheckRank(IReadOnlyList<LinearSite> targets, BuildOptions options)
    {
        if (options.Method != AdapterMethod.Full && targets.Where(t => options.Rank > Math.Min(t.In, t.Out)).ToList() is { Count: > 0 } small)
            throw new TargetException($"--rank {options.Rank} is larger than min(in, out) of {small[0].Module} ({small[0].Out} × {small[0].In})"
                + (small.Count > 1 ? $" and {small.Count - 1} other targets" : "") + $"; the largest rank for these targets is {small.Min(t => Math.Min(t.In, t.Out))}.");
    }

    /// <summary>
    /// The sites that <paramref name="targets"/> names: roles or module names separated by commas, <c>all-linear</c> (every
    /// Linear but lm_head), or <c>re:REGEX</c> over module names.
    /// </summary>
    /// <exception cref="TargetException">A name or pattern matches nothing.</exception>
    public static IReadOnlyList<LinearSite> Select(IReadOnlyList<LinearSite> sites, string targets)
    {
        var chosen = new HashSet<LinearSite>();
        var missing = new List<string>();
        foreach (var target in targets.StartsWith("re:", StringComparison.Ordinal) ? [targets] : targets.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var matches = sites.Where(Matcher(target)).ToList();
            if (matches.Count == 0)
                missing.Add(target);
            chosen.UnionWith(matches);
        }
        if (missing.Count > 0 || chosen.Count == 0)
        {
            var roles = string.Join(", ", sites.Select(s => s.Role).Distinct().Order(StringComparer.Ordinal));
            var example = sites.Count == 0 ? "none" : $"{sites[0].Module}, …";
            throw new TargetException($"--targets: nothing in the model is called '{string.Join("', '", missing.DefaultIfEmpty(targets))}'. "
                + $"It has {sites.Count} Linears with the roles {roles} (modules: {example}); `sorsa inspect` lists them all.");
        }
        return [.. sites.Where(chosen.Contains)];
    }

    private static Func<LinearSite, bool> Matcher(string target)
    {
        if (target == "all-linear")
            return s => s.Role != "lm_head";
        if (!target.StartsWith("re:", StringComparison.Ordinal))
            return s => s.Role == target || s.Module == target || s.Module.EndsWith("." + target, StringComparison.Ordinal);
        try
        {
            var pattern = new Regex(target[3..], RegexOptions.NonBacktracking);
            return s => pattern.IsMatch(s.Module);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new TargetException($"--targets: '{target[3..]}' is not a usable regular expression: {e.Message}");
        }
    }
}

/// <summary>A choice of targets, or of their rank, that the model cannot satisfy.</summary>
public sealed class TargetException : Exception
{
    /// <summary>With what was asked for and what exists.</summary>
    public TargetException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public TargetException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public TargetException() { }
}
