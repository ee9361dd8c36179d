using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Artifacts.Tests;

public sealed class MetricsLogTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string LogPath => _folder.At("run", "metrics.jsonl");

    private void Append(long lastStep, params ReadOnlySpan<long> steps)
    {
        using MetricsLog log = MetricsLog.Open(LogPath, lastStep);
        foreach (long step in steps)
            log.Append(step, json => json.WriteNumber("loss", step / 2.0));
        log.Flush();
    }

    private IEnumerable<long> Steps() => MetricsLog.Read(LogPath).Select(line => line.GetProperty("step").GetInt64());

    [Fact]
    public void Lines_AreOneObjectEachWithTheStepFirst()
    {
        Append(-1, 1, 2);
        Assert.Equal("{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":1}\n", File.ReadAllText(LogPath));
    }

    [Fact]
    public void Resume_CutsLaterStepsSoThatEachStandsOnce()
    {
        Append(-1, 1, 2, 2, 3, 4);
        Append(2, 3, 4, 5);
        Assert.Equal([1, 2, 2, 3, 4, 5], Steps());
        Append(-1, 1);
        Assert.Equal([1], Steps());
        Assert.Equal(["run", Path.Combine("run", "metrics.jsonl")], _folder.Everything());
    }

    [Fact]
    public void LogCutAtAnyByte_GoesOnWithWholeLines()
    {
        Append(-1, 1, 2, 3);
        byte[] whole = File.ReadAllBytes(LogPath);
        for (int length = 0; length <= whole.Length; length++)
        {
            File.WriteAllBytes(LogPath, whole[..length]);
            long[] left = [.. Steps()];
            Append(3, 9);
            Assert.Equal([.. left, 9], Steps());
            Assert.Equal(left.Length, whole[..length].Count(b => b == (byte)'\n'));
        }
    }

    [Fact]
    public void ForeignAndEndlessLines_AreCutOut()
    {
        Append(-1, 1);
        File.AppendAllText(LogPath, "\0\0\0\n[1]\n{\"no_step\":1}\n{\"step\":\"x\"}\n" + new string('x', 3 << 20) + "\n{\"step\":2}\n" + new string('[', 1000) + "\n");
        Append(2, 3);
        Assert.Equal([1, 2, 3], Steps());
    }
}
