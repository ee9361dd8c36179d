using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

public class HostileSafetensorsTests
{
    public static TheoryData<string> Ids() => HostileCorpus.Load("safetensors") is { Count: > 0 } cases ? [.. cases.Select(c => c.Id)] : ["absent"];

    [Theory]
    [MemberData(nameof(Ids))]
    public void Case_IsTreatedAsTheCorpusSays(string id)
    {
        Assert.SkipWhen(id == "absent", "../shared/hostile is absent");
        HostileCase hostile = HostileCorpus.Get(id);
        for (int variant = 0; variant < hostile.Variants; variant++)
        {
            using var folder = new TemporaryFolder();
            string path = hostile.Materialize(folder.Path, variant);
            Exception? refusal = Record.Exception(() =>
            {
                using SafetensorsReader reader = SafetensorsReader.Open(path);
                foreach (SafetensorsEntry tensor in reader.Tensors)
                    _ = reader.Bytes(tensor.Name).ToArray();
            });
            if (hostile.Expect == "accept")
                Assert.Null(refusal);
            else if (hostile.Expect == "reject")
                Assert.NotNull(refusal);
            if (refusal is not null)
                Assert.True(hostile.IsNamedBy(Assert.IsType<SafetensorsFormatException>(refusal).Message), refusal.Message);
        }
    }

    [Fact]
    public void Flip_GivesTheBytesOfTheCorpusScript()
    {
        // materialize.py's flip(bytes(range(64)), {"seed": 2, "count": 3}, 5)
        Assert.Equal(FlippedByTheScript, Convert.ToHexStringLower(HostileCase.Flip([.. Enumerable.Range(0, 64).Select(i => (byte)i)], 2, 3, 0, 5)));
    }

    private const string FlippedByTheScript = "000102030405060708090a0b0c0d0e0f10111213141d161719191a1b1c1d1e1f202132232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

    [Fact]
    public void Pipe_IsRefusedWithoutWaiting()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no named pipes in the file system");
        using var folder = new TemporaryFolder();
        using (var process = System.Diagnostics.Process.Start("mkfifo", [folder.At("pipe.safetensors")]))
            process.WaitForExit();
        Assert.Contains("pipe.safetensors", Assert.ThrowsAny<IOException>(() => SafetensorsReader.Open(folder.At("pipe.safetensors"))).Message, StringComparison.Ordinal);
        Assert.Contains("directory", Assert.ThrowsAny<IOException>(() => SafetensorsReader.Open(folder.Path)).Message, StringComparison.Ordinal);
    }
}
