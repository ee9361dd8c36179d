using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>Models beyond 2 GB: weights go from file to file, and what <c>build-artifacts</c> and <c>merge</c> take in memory depends on the largest of them alone.</summary>
public sealed class LargeModelTests
{
    // The program, .NET, the graphs and what the collector has not yet given back of small things.
    private const long Base = 200L << 20;

    // One weight for each thread and one on its way to the file, each as floats, and twice that for the bytes that are stored and what died since the last collection.
    private const int Copies = 3;

    [Fact]
    public void MemoryIsBoundedByTheLargestWeight() => Check(new RandomLlama { Hidden = 1024, Intermediate = 4096, Layers = 10, Heads = 16, KeyValueHeads = 16 });

    [Fact(Explicit = true)] // about three minutes, most of it the disk's
    public void MemoryIsBoundedByTheLargestWeight_OfAModelOver3GB()
    {
        var llama = new RandomLlama { Hidden = 2048, Intermediate = 8192, Layers = 12, Heads = 16, KeyValueHeads = 16 };
        Assert.InRange(llama.DataBytes, 3L << 30, long.MaxValue);
        Check(llama);
    }

    private static void Check(RandomLlama llama)
    {
        using var scratch = new ScratchFolder();
        // The model, its artifacts (residuals in the places of the weights, and the factors) and the merged model.
        var (needed, free) = (llama.DataBytes * 13 / 4, new DriveInfo(scratch.Path).AvailableFreeSpace);
        Assert.SkipWhen(free < needed, $"{needed >> 20} MB of disk are needed, {free >> 20} MB are free");
        const int Threads = 2;
        var largest = sizeof(float) * (long)llama.Hidden * llama.Intermediate;
        var bound = Base + Copies * (Threads + 1) * largest;
        Assert.InRange(bound, 0, llama.DataBytes);
        llama.Write(scratch["model.onnx"]);
        var built = Sorsa.Run("build-artifacts", "--model", scratch["model.onnx"], "--out", scratch["artifacts"], "--rank", "8", "--svd", "randomized", "--svd-iterations", "0",
            "--threads", $"{Threads}", "--json").Expect(0).Json;
        var merged = Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--out", scratch["merged/model.onnx"], "--threads", $"{Threads}", "--json").Expect(0).Json;
        Assert.Equal(llama.DataBytes, new FileInfo(scratch["merged/model.onnx_data"]).Length, 1L << 20);
        long[] peaks = [Peak(built), Peak(merged)];
        TestContext.Current.TestOutputHelper?.WriteLine($"{llama.DataBytes >> 20} MB of weights; peaks {peaks[0] >> 20} and {peaks[1] >> 20} MB, at most {bound >> 20} MB are allowed");
        Assert.All(peaks, peak => Assert.InRange(peak, 1, bound));
    }

    private static long Peak(JsonElement report) => report.GetProperty("peak_memory_bytes").GetInt64();
}
