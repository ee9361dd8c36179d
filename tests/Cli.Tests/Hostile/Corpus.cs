using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Runs cases of ../shared/hostile through a verb and holds the outcome against what the case demands.</summary>
internal static class Corpus
{
    private const string Absent = "absent";

    /// <summary>Ids of a kind, for a theory; one row that skips where the corpus is absent.</summary>
    public static TheoryData<string> Ids(string kind) => HostileCorpus.Load(kind) is { Count: > 0 } cases ? [.. cases.Select(c => c.Id)] : [Absent];

    /// <summary>The case, or a skip.</summary>
    public static HostileCase Get(string id)
    {
        Assert.SkipWhen(id == Absent, "../shared/hostile is absent.");
        return HostileCorpus.Get(id);
    }

    /// <summary>Makes up to <paramref name="mostVariants"/> variants and runs <paramref name="verb"/> (input file, output path) on each.</summary>
    /// <param name="hostile">The case.</param>
    /// <param name="mostVariants">Variants tried of a case that has seeds.</param>
    /// <param name="verb">Runs the command.</param>
    /// <param name="accepted">Looks at the output of an accepted case.</param>
    public static void Check(HostileCase hostile, int mostVariants, Func<string, string, CommandOutcome> verb, Action<string>? accepted = null)
    {
        for (var variant = 0; variant < Math.Min(mostVariants, hostile.Variants); variant++)
        {
            using var work = new TemporaryFolder();
            using var elsewhere = new TemporaryFolder();
            var input = hostile.Materialize(work.Path, variant);
            var before = Snapshot(work);
            var output = elsewhere.At("out");
            var outcome = verb(input, output).ExpectNoTrace();
            Assert.Equal(before, Snapshot(work));
            var allowed = hostile.Expect switch { "reject" => [2], "accept" => [0], _ => new[] { 0, 2 } };
            Assert.True(allowed.Contains(outcome.ExitCode), $"{hostile.Id}, variant {variant} ({hostile.Wrong}): {hostile.Expect} is due, but exit code {outcome.ExitCode}:\n{outcome.Out}{outcome.Error}");
            if (outcome.ExitCode == 0)
            {
                accepted?.Invoke(output);
                continue;
            }
            Assert.Empty(elsewhere.Everything());
            Assert.True(hostile.IsNamedBy(outcome.Error), $"{hostile.Id}: the message names neither the file nor {string.Join(", ", hostile.Names)}:\n{outcome.Error}");
        }
    }

    // Path, length and time of everything: inputs stay as they were, nothing is added beside them.
    private static string[] Snapshot(TemporaryFolder folder) =>
        [.. folder.Everything().Select(p => $"{p} {(new FileInfo(folder.At(p)) is { Exists: true, LinkTarget: null } f ? $"{f.Length} {f.LastWriteTimeUtc:O}" : "")}")];
}
