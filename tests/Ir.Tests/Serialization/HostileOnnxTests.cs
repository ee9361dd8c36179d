using SorsaOrt.Ir.Serialization;
using SorsaOrt.Ir.Serialization.Proto;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>Every ONNX case of the hostile corpus against the reader itself.</summary>
public sealed class HostileOnnxTests
{
    /// <summary>Faults of values, or of what the graph means: the file is sound, and build-artifacts refuses it.</summary>
    private static readonly HashSet<string> RefusedLater = new(StringComparer.Ordinal)
    {
        "value-nan", "value-inf", "value-all-nan", "dims-swapped-head", "fp16-mixed", "unknown-op", "unknown-domain", "matmul-1-input",
        "matmul-3-inputs", "shape-mismatch", "logits-int64", "input-float", "input-3d", "no-linear",
    };

    public static TheoryData<string> Ids() => [.. HostileCorpus.Load("onnx").Select(c => c.Id), .. HostileCorpus.Load("onnx").Count == 0 ? ["none"] : Array.Empty<string>()];

    [Theory]
    [MemberData(nameof(Ids))]
    public void Case_IsReadOrRefusedInWords(string id)
    {
        Assert.SkipWhen(id == "none", "../shared/hostile is absent.");
        var hostile = HostileCorpus.Get(id);
        for (var variant = 0; variant < hostile.Variants; variant++)
        {
            var folder = Directory.CreateTempSubdirectory("sorsa-hostile-");
            try
            {
                var refusal = Refusal(hostile.Materialize(folder.FullName, variant));
                var expected = RefusedLater.Contains(id["onnx/".Length..]) ? "accept" : hostile.Expect;
                if (expected == "accept")
                    Assert.Null(refusal);
                if (expected == "reject")
                    Assert.NotNull(refusal);
                if (refusal is not null)
                    Assert.True(hostile.IsNamedBy(refusal) && !refusal.Any(char.IsControl), refusal);
                if (refusal is not null && id.StartsWith("onnx/ext-", StringComparison.Ordinal))
                    Assert.Contains("tensor 'onnx::MatMul_435'", refusal, StringComparison.Ordinal);
            }
            finally
            {
                folder.Delete(recursive: true);
            }
        }
    }

    // Null where the file can be read; what can be read is also written back the same.
    private static string? Refusal(string path)
    {
        try
        {
            using var model = OnnxReader.Read(path);
            using var stream = new MemoryStream();
            OnnxWriter.Write(model, stream, v => model.ExternalLocations.GetValueOrDefault(v.Name));
            if (!path.Contains("unsorted", StringComparison.Ordinal))
                Assert.Equal(ModelProto.Parser.ParseFrom(File.ReadAllBytes(path)), ModelProto.Parser.ParseFrom(stream.ToArray()));
            return null;
        }
        catch (ModelFormatException e)
        {
            return e.Message;
        }
    }
}
