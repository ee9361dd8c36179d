using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

public sealed class AtomicOutputTests : IDisposable
{
    // A process number that cannot be in use: above the kernel's limit of 2^22.
    private const string Dead = "9999999-0123abcd";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void File_AppearsOnlyAtCommitWithItsDigest()
    {
        using var file = new AtomicFile(_folder.At("sub", "out.bin"));
        file.Stream.Write("hello"u8);
        Assert.False(File.Exists(file.FinalPath));
        FileDigest digest = file.Commit();
        Assert.Equal(new FileDigest(5, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"), digest);
        Assert.Equal(digest, FileDigest.Of(file.FinalPath));
        Assert.Equal(["sub", Path.Combine("sub", "out.bin")], _folder.Everything());
    }

    [Fact]
    public void File_GivenUpLeavesNothingNotEvenFolders()
    {
        using (var file = new AtomicFile(_folder.At("a", "b", "out.bin")))
            file.Stream.Write(new byte[100_000]);
        Assert.Empty(_folder.Everything());
    }

    [Fact]
    public void ExistingFile_IsRefusedWithoutForceAndReplacedAtTheEndWithIt()
    {
        string path = _folder.At("out.bin");
        File.WriteAllText(path, "old");
        var refusal = Assert.Throws<OutputExistsException>(() => new AtomicFile(path));
        Assert.Contains("--force", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(path, refusal.Path);
        using (var given = new AtomicFile(path, force: true))
            given.Stream.Write("half"u8);
        Assert.Equal("old", File.ReadAllText(path));
        AtomicFile.Write(path, "new"u8, force: true);
        Assert.Equal("new", File.ReadAllText(path));
        Assert.Equal(["out.bin"], _folder.Everything());
    }

    [Fact]
    public void File_ThatAppearedMeanwhileIsNotOverwritten()
    {
        using var file = new AtomicFile(_folder.At("out.bin"));
        File.WriteAllText(file.FinalPath, "theirs");
        Assert.Throws<OutputExistsException>(() => file.Commit());
        Assert.Equal("theirs", File.ReadAllText(file.FinalPath));
    }

    [Fact]
    public void Temporaries_OfDeadProcessesAreSweptAndOthersKept()
    {
        File.WriteAllText(_folder.At($".out.bin.{Dead}.sorsa-tmp"), "left");
        Directory.CreateDirectory(_folder.At($".dir.{Dead}.sorsa-tmp"));
        File.WriteAllText(_folder.At($".dir.{Dead}.sorsa-tmp", "x"), "left");
        File.WriteAllText(_folder.At("mine.tmp"), "a user's");
        using var live = new AtomicFile(_folder.At("live"));
        using (var file = new AtomicFile(_folder.At("out.bin")))
            file.Commit();
        Assert.False(File.Exists(_folder.At($".out.bin.{Dead}.sorsa-tmp")));
        Assert.Equal(1, Temporary.Sweep(_folder.Path));
        Assert.Equal([Path.GetFileName(live.TemporaryPath), "mine.tmp", "out.bin"], _folder.Everything());
    }

    [Fact]
    public void Temporaries_WithThisProcessesNumberButNotItsOwnAreSwept()
    {
        File.WriteAllText(_folder.At($".out.bin.{Environment.ProcessId}-0123abcd.sorsa-tmp"), "of an earlier process with the same number");
        Assert.Equal(1, Temporary.Sweep(_folder.Path));
        Assert.Empty(_folder.Everything());
    }

    [Fact]
    public void FolderSetAside_IsRestoredWhereItsReplacementNeverCame()
    {
        Directory.CreateDirectory(_folder.At($".run.{Dead}.sorsa-old"));
        File.WriteAllText(_folder.At($".run.{Dead}.sorsa-old", "x"), "old");
        Temporary.Sweep(_folder.Path);
        Assert.Equal("old", File.ReadAllText(_folder.At("run", "x")));
    }

    [Fact]
    public void Folder_AppearsOnlyAtCommit()
    {
        using var folder = new StagedFolder(_folder.At("deep", "out"));
        folder.Write("a.bin", "aa"u8);
        using (DigestStream open = folder.Create("sub/b.bin"))
            open.Write("bbb"u8);
        Assert.False(Directory.Exists(folder.FinalPath));
        Assert.Equal(["a.bin", "sub/b.bin"], folder.Complete().Select(f => f.Path));
        folder.Commit();
        Assert.Equal("bbb", File.ReadAllText(Path.Combine(folder.FinalPath, "sub", "b.bin")));
        Assert.Equal(4, _folder.Everything().Count(e => !e.EndsWith(".bin", StringComparison.Ordinal)) + 1);
    }

    [Fact]
    public void Folder_GivenUpLeavesNothing()
    {
        using (var folder = new StagedFolder(_folder.At("deep", "out")))
            folder.Write("a.bin", "aa"u8);
        Assert.Empty(_folder.Everything());
    }

    [Fact]
    public void ExistingFolder_IsReplacedOnlyByForceAndOnlyWhereItHoldsTheMarker()
    {
        string path = _folder.At("out");
        Directory.CreateDirectory(path);
        using (var empty = new StagedFolder(path))
        {
            empty.Write("manifest.json", "old"u8);
            empty.Commit();
        }
        Assert.Throws<OutputExistsException>(() => new StagedFolder(path));
        Assert.Contains("other.json", Assert.Throws<OutputExistsException>(() => new StagedFolder(path, force: true, own: ["other.json"])).Message, StringComparison.Ordinal);
        using (var replacing = new StagedFolder(path, force: true, own: ["manifest.json"]))
        {
            replacing.Write("new.json", "new"u8);
            Assert.Equal("old", File.ReadAllText(Path.Combine(path, "manifest.json")));
            replacing.Commit();
        }
        Assert.Equal(["out", Path.Combine("out", "new.json")], _folder.Everything());
    }

    [Fact]
    public void Folder_RefusesPathsThatLeaveIt()
    {
        using var folder = new StagedFolder(_folder.At("out"));
        foreach (string path in new[] { "", "/etc/x", "../x", "a/../../x", "a//b", "a\\b", "c:x", "a\0b", "." })
            Assert.Throws<ArgumentException>(() => folder.Create(path));
    }

    [Fact]
    public void Files_MoveTogetherTheMainOneLast()
    {
        using (var files = new StagedFiles(_folder.At("m.onnx")))
        {
            using (DigestStream main = files.Create("m.onnx"))
                main.Write("model"u8);
            File.WriteAllText(Path.Combine(files.Folder, "m.onnx.data"), "data");
            Assert.Equal(FileDigest.Of("data"u8), files.Adopt("m.onnx.data"));
            files.Complete();
            Assert.Equal("model", File.ReadAllText(Path.Combine(files.Folder, "m.onnx")));
            Assert.False(File.Exists(_folder.At("m.onnx.data")));
            files.Commit();
        }
        Assert.Equal(["m.onnx", "m.onnx.data"], _folder.Everything());
        Assert.Throws<OutputExistsException>(() => new StagedFiles(_folder.At("m.onnx")));
        using (var given = new StagedFiles(_folder.At("n.onnx")))
            Assert.Throws<OutputExistsException>(() => given.Create("m.onnx.data"));
        Assert.Equal(["m.onnx", "m.onnx.data"], _folder.Everything());
    }

    [Fact]
    public void Outputs_WhosePathIsOfTheWrongKindAreRefusedByName()
    {
        Directory.CreateDirectory(_folder.At("folder"));
        File.WriteAllText(_folder.At("file"), "");
        Assert.Contains("is a directory", Assert.Throws<OutputExistsException>(() => new AtomicFile(_folder.At("folder"), force: true)).Message, StringComparison.Ordinal);
        Assert.Contains("is a file", Assert.Throws<OutputExistsException>(() => new StagedFolder(_folder.At("file"), force: true)).Message, StringComparison.Ordinal);
        Assert.Contains("'", Assert.Throws<IOException>(() => new AtomicFile(_folder.At("file", "below"))).Message, StringComparison.Ordinal);
        Assert.Equal(["file", "folder"], _folder.Everything());
    }

    [Fact]
    public void DiskFull_IsReportedWithPathAndCause()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "no /dev/full");
        // The stream over a full device: what every writer of an output goes through.
        string link = _folder.At("full");
        File.CreateSymbolicLink(link, "/dev/full");
        using var stream = new FileStream(link, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        using var output = new DigestStream(stream, "/out/model.onnx");
        string message = Assert.Throws<IOException>(() =>
        {
            output.Write(new byte[1 << 20]);
            output.Complete();
        }).Message;
        Assert.Contains("'/out/model.onnx' cannot be written: No space left", message, StringComparison.Ordinal);
    }

    [Fact]
    public void FolderThatCannotBeWritten_IsReportedByName()
    {
        Assert.SkipUnless(Directory.Exists("/proc/self"), "no /proc, which even root cannot write into");
        Assert.Contains("'/proc/out.bin' cannot be written", Assert.Throws<IOException>(() => new AtomicFile("/proc/out.bin")).Message, StringComparison.Ordinal);
        Assert.Contains("'/proc/out' cannot be written", Assert.Throws<IOException>(() => new StagedFolder("/proc/out")).Message, StringComparison.Ordinal);
        Assert.Contains("'/proc/a", Assert.Throws<IOException>(() => new AtomicFile("/proc/a/b/out.bin")).Message, StringComparison.Ordinal);
    }
}
