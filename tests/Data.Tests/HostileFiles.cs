using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

/// <summary>Cases of the hostile corpus against the readers of this room.</summary>
internal static class HostileFiles
{
    /// <summary>(id, variant) of every case of a kind; one row with an empty id where the corpus is absent.</summary>
    public static IEnumerable<(string Id, int Variant)> Cases(string kind) => Paths.SharedOrNull is null
        ? [("", 0)]
        : HostileCorpus.Load(kind).SelectMany(c => Enumerable.Range(0, c.Variants).Select(k => (c.Id, k)));

    /// <summary>Makes the file and checks that <paramref name="read"/> ends as the case says.</summary>
    public static void Check(string id, int variant, Action<string> read)
    {
        Assert.SkipWhen(id.Length == 0, "../shared is absent");
        var item = HostileCorpus.Get(id);
        using var folder = new TemporaryFolder();
        string path = item.Materialize(folder.Path, variant);
        var error = Record.Exception(() => read(path));
        if (error is null)
        {
            Assert.True(item.Expect != "reject", $"{id} was accepted: {item.Wrong}");
            return;
        }
        Assert.True(item.Expect != "accept", $"{id} was refused: {error.Message}");
        Assert.IsType<DataFormatException>(error);
        Assert.Contains(Path.GetFileName(path), error.Message, StringComparison.Ordinal);
        string place = item.Kind == "jsonl" ? "line " : "";
        if (item.Names.Count > 0 && item.Expect == "reject")
            Assert.Contains(item.Names, n => error.Message.Contains(place + n, StringComparison.OrdinalIgnoreCase));
    }
}
