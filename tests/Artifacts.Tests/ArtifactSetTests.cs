using System.Text;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

public sealed class ArtifactSetTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Folder => _folder.At("artifacts");

    [Fact]
    public void WriteThenOpen_IsTheIdentity()
    {
        ArtifactSet written = SmallArtifacts.Build(Folder);
        ArtifactSet opened = ArtifactSet.Open(Folder, Verification.Full);
        Assert.Equal(written.Hash, opened.Hash);
        Assert.Equal(FileDigest.Of(Path.Combine(Folder, ArtifactFiles.Manifest)).Sha256, opened.Hash);
        Assert.Equal(Encoding.UTF8.GetString(SealedJson.Serialize(written.Manifest)), Encoding.UTF8.GetString(SealedJson.Serialize(opened.Manifest)));
        Assert.Equal(3, opened.Manifest.Files.Count);
        using SafetensorsReader parameters = opened.OpenParameters();
        float[] values = new float[SmallArtifacts.Elements];
        ParameterFile.Read(parameters, opened.Manifest.Parameters, FlatBuffers.Sink(values));
        Assert.Equal(SmallArtifacts.Values(1), values);
        Assert.True(opened.Has(ArtifactFiles.FrozenData));
        Assert.Throws<ArtifactMismatchException>(() => opened.PathOf(ArtifactFiles.NormModel));
    }

    [Fact]
    public void Write_IsDeterministicAndFreeOfPaths()
    {
        SmallArtifacts.Build(Folder);
        SmallArtifacts.Build(_folder.At("again"));
        Dictionary<string, byte[]> again = SmallArtifacts.Contents(_folder.At("again"));
        Assert.All(SmallArtifacts.Contents(Folder), file => Assert.Equal(file.Value, again[file.Key]));
        Assert.DoesNotContain(_folder.Path, Encoding.UTF8.GetString(again[ArtifactFiles.Manifest]), StringComparison.Ordinal);
    }

    [Fact]
    public void Folder_MovesFreely()
    {
        string hash = SmallArtifacts.Build(Folder).Hash;
        Directory.Move(Folder, _folder.At("elsewhere"));
        Assert.Equal(hash, ArtifactSet.Open(_folder.At("elsewhere"), Verification.Full).Hash);
    }

    [Fact]
    public void EverySingleBitFlip_IsRefusedNamingTheFile()
    {
        SmallArtifacts.Build(Folder);
        Damage.EveryBit(Folder, () => ArtifactSet.Open(Folder, Verification.Full));
    }

    [Fact]
    public void EveryTruncationGrowthDeletionZeroingAndSwap_IsRefused()
    {
        SmallArtifacts.Build(Folder);
        Damage.EveryFile(Folder, () => ArtifactSet.Open(Folder, Verification.Full));
    }

    [Fact]
    public void Sizes_AreCheckedWithoutReadingTheFiles()
    {
        SmallArtifacts.Build(Folder);
        string frozen = Path.Combine(Folder, ArtifactFiles.FrozenData);
        File.WriteAllBytes(frozen, [9, 9, 9, 9, 9, 9, 9, 9]);
        ArtifactSet.Open(Folder, Verification.Sizes);
        Assert.Equal(frozen, Assert.Throws<ArtifactMismatchException>(() => ArtifactSet.Open(Folder, Verification.Full)).File);
        File.AppendAllText(frozen, "x");
        Assert.Contains("9 bytes instead of 8", Assert.Throws<ArtifactMismatchException>(() => ArtifactSet.Open(Folder, Verification.Sizes)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\n", "{\n  \"no_such_key_here\": 1,\n", "unknown", "no_such_key_here")]
    [InlineData("\"layers\": 1,", "", "missing", "layers")]
    [InlineData("\"in\": 4,", "", "missing", "in")]
    [InlineData("\"layers\": 1,", "\"layers\": null,", "wrong kind", "layers")]
    [InlineData("\"layers\": 1,", "\"layers\": 1e300,", "wrong kind", "layers")]
    [InlineData("\"layers\": 1,", "\"layers\": \"x\",", "wrong kind", "layers")]
    [InlineData("\"method\": \"sorsa\"", "\"method\": \"other\"", "wrong kind", "method")]
    [InlineData("\"method\": \"sorsa\"", "\"method\": null", "wrong kind", "method")]
    [InlineData("\"family\": \"optimum\"", "\"family\": null", "null", "family")]
    [InlineData("\"layers\": 1,", "\"layers\": 1, \"layers\": 1,", "stands twice", "layers")]
    [InlineData("\"layers\": 1,", "\"layers\": 2,", "own checksum", "manifest.json")]
    [InlineData("\"format_version\": 1,", "\"format_version\": 9999,", "9999", "format_version")]
    [InlineData("\"format_version\": 1,", "\"format_version\": 0,", "0", "format_version")]
    [InlineData("\"format_version\": 1,", "", "missing", "format_version")]
    [InlineData("\"checksum\": \"", "\"checksums\": \"", "checksum", "manifest.json")]
    public void EditedManifest_IsRefusedNamingTheKey(string find, string replacement, params string[] words)
    {
        SmallArtifacts.Build(Folder);
        string path = Path.Combine(Folder, ArtifactFiles.Manifest);
        string text = File.ReadAllText(path);
        Assert.Contains(find, text, StringComparison.Ordinal);
        int at = find.StartsWith("\"checksum", StringComparison.Ordinal) ? text.LastIndexOf(find, StringComparison.Ordinal) : text.IndexOf(find, StringComparison.Ordinal);
        File.WriteAllText(path, text[..at] + replacement + text[(at + find.Length)..]);
        string message = Assert.Throws<ArtifactMismatchException>(() => ArtifactSet.Open(Folder, Verification.Full)).Message;
        Assert.All(words, word => Assert.Contains(word, message, StringComparison.Ordinal));
        Assert.Contains("manifest.json", message, StringComparison.Ordinal);
        Assert.DoesNotContain("SorsaOrt", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("5")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"format_version\": 1}")]
    [InlineData("{\"format_version\": 1, \"checksum\": \"")]
    [InlineData("\ufeff{}")]
    public void ManifestThatIsNone_IsRefused(string text)
    {
        SmallArtifacts.Build(Folder);
        File.WriteAllText(Path.Combine(Folder, ArtifactFiles.Manifest), text);
        Assert.Contains("manifest.json", Assert.Throws<ArtifactMismatchException>(() => ArtifactSet.Open(Folder, Verification.Full)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ManifestNestedDeep_IsRefused()
    {
        SmallArtifacts.Build(Folder);
        File.WriteAllText(Path.Combine(Folder, ArtifactFiles.Manifest), new string('[', 100_000));
        Assert.Throws<ArtifactMismatchException>(() => ArtifactSet.Open(Folder, Verification.Full));
    }

    public static TheoryData<string, Manifest> OutOfRange()
    {
        Manifest m = SmallArtifacts.Manifest;
        TargetWeight t = m.Targets[0];
        return new TheoryData<string, Manifest>
        {
            { "layers", m with { Layers = -7 } },
            { "hidden_size", m with { HiddenSize = 0 } },
            { "vocabulary_size", m with { VocabularySize = -1 } },
            { "source.sha256", m with { Source = m.Source with { Sha256 = "../../../etc/passwd" } } },
            { "rank 5", m with { Targets = [t with { Rank = 5 }] } },
            { "in -7", m with { Targets = [t with { In = -7 }] } },
            { "stands twice", m with { Targets = [t, t] } },
            { "no target", m with { Targets = [] } },
            { "'q.B': offset", m with { ParameterCount = 15 } },
            { "'q.S': offset", m with { Parameters = [m.Parameters[0], m.Parameters[1] with { Offset = 7 }, m.Parameters[2]] } },
            { "'q.S': shape", m with { Parameters = [m.Parameters[0], m.Parameters[1] with { Shape = [1L << 33, 1L << 33] }, m.Parameters[2]] } },
            { "external_tensors", m with { ExternalTensors = [m.ExternalTensors[0] with { Offset = -1 }] } },
        };
    }

    [Theory]
    [MemberData(nameof(OutOfRange), DisableDiscoveryEnumeration = true)]
    public void ValuesThatCannotBe_AreRefusedNamingTheKey(string word, Manifest manifest)
    {
        string message = Assert.Throws<ArtifactMismatchException>(() => ManifestCheck.Check("manifest.json", manifest)).Message;
        Assert.Contains(word, message, StringComparison.Ordinal);
        Assert.Throws<ArtifactMismatchException>(() => SmallArtifacts.Build(Folder, manifest));
        Assert.False(Directory.Exists(Folder));
    }

    [Fact]
    public void FilesThatLeaveTheFolder_AreRefused()
    {
        FileEntry file = new() { Path = "../../etc/passwd", Size = 1, Sha256 = new string('0', 64) };
        Assert.Contains("leaves the folder", ManifestCheck.FileProblems([file]).Single(), StringComparison.Ordinal);
        Assert.Equal(3, ManifestCheck.FileProblems([file with { Path = "a", Size = -1, Sha256 = "x" }, file with { Path = "a" }]).Count());
    }
}
