using System.Reflection;
using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;
using Xunit;

namespace SorsaOrt.Engines.Tests;

public sealed class BoundRunTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly OrtSession _norm;

    public BoundRunTests() => _norm = new OrtSession(TinyArtifacts.Write(_folder["artifacts"]).PathOf(ArtifactFiles.NormModel), new EngineOptions { Threads = 1 });

    public void Dispose()
    {
        _norm.Dispose();
        _folder.Dispose();
    }

    private static bool IsFreed(OrtValue value) =>
        (nint)typeof(OrtValue).GetField("_handle", BindingFlags.NonPublic | BindingFlags.Instance)!.GetValue(value)! == 0;

    [Fact]
    public void Values_AreFreedWhenReplacedAndWhenTheRunIsDisposed()
    {
        using var x = new FlatBuffer<float>(8);
        using var sum = new FlatBuffer<float>(1);
        OrtValue first = x.View(0, 8), second = x.View(0, 4), output = sum.View(0);
        using (var run = new BoundRun(_norm))
        {
            run.Input("x", first).Output("sum_of_squares", output);
            Assert.False(IsFreed(first));
            run.Input("x", second);
            Assert.True(IsFreed(first));
            Assert.False(IsFreed(second));
        }

        Assert.True(IsFreed(second));
        Assert.True(IsFreed(output));
    }

    [Fact]
    public void BoundMemory_IsReadAndWrittenAtEveryRun()
    {
        using var x = new FlatBuffer<float>(2);
        using var sum = new FlatBuffer<float>(1);
        using var run = new BoundRun(_norm).Input("x", x.View(0, 2)).Output("sum_of_squares", sum.View(0));
        foreach (var value in (float[])[1, 3, 10])
        {
            x.Slice(0, 2).Fill(value);
            run.Run();
            Assert.Equal(2 * value * value, sum[0]);
        }
    }

    [Fact]
    public void UnknownName_IsReportedWithTheModel()
    {
        using var x = new FlatBuffer<float>(2);
        using var run = new BoundRun(_norm);

        var error = Assert.Throws<EngineException>(() => run.Input("y", x.View(0, 2)));

        Assert.Contains("norm_model.onnx", error.Message, StringComparison.Ordinal);
        Assert.Contains("'y'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FlatBuffer_RefusesViewsBeyondItsEnd()
    {
        using var x = new FlatBuffer<float>(6);

        Assert.Throws<ArgumentOutOfRangeException>(() => x.View(4, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.View(-1, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Slice(0, 7).Length);
        Assert.Throws<OverflowException>(() => x.View(0, long.MaxValue, 2));
        x.Dispose();
        Assert.Throws<ObjectDisposedException>(() => x.View(0, 1));
    }
}
