using FsCheck.Xunit;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.Ir.Serialization.Proto;
using Xunit;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>Random graphs: what is written is read again as the same graph.</summary>
public sealed class RandomGraphTests
{
    [Property(MaxTest = 200)]
    public void WriteReadWrite_GivesTheSameBytesAndText(int seed)
    {
        using var model = RandomModel(new Random(seed));
        var bytes = OnnxWriter.ToBytes(model);
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, bytes);
            using var again = OnnxReader.Read(path);
            Assert.Equal(model.Graph.ToString(), again.Graph.ToString());
            Assert.Equal(bytes, OnnxWriter.ToBytes(again));
            Assert.Equal([], Differences.Between(ModelProto.Parser.ParseFrom(bytes), ModelProto.Parser.ParseFrom(OnnxWriter.ToBytes(again))));
            foreach (var value in model.Graph.Initializers)
                Assert.Equal(Bytes(value.Constant!), Bytes(again.Graph.FindInitializer(value.Name)!.Constant!));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static byte[] Bytes(Tensor tensor)
    {
        var bytes = new byte[tensor.ByteLength];
        tensor.CopyTo(0, bytes);
        return bytes;
    }

    private static Model RandomModel(Random random)
    {
        var graph = new Graph(Name(random));
        var values = new List<Value> { graph.AddInput("input", RandomType(random)) };
        for (var i = random.Next(4); i > 0; i--)
            values.Add(graph.AddInitializer(graph.FreeName(Name(random)), RandomTensor(random)));
        for (var i = random.Next(1, 12); i > 0; i--)
        {
            var inputs = Enumerable.Range(0, random.Next(4)).Select(_ => random.Next(8) == 0 ? null : values[random.Next(values.Count)]).ToArray();
            var output = graph.NewValue(graph.FreeName(Name(random)), random.Next(2) == 0 ? RandomType(random) : null);
            output.HasValueInfo = output.Type is not null;
            var node = graph.AddNode(Name(random), inputs, random.Next(4) == 0 ? [null, output] : [output], random.Next(2) == 0 ? "" : Name(random), Name(random));
            foreach (var attribute in RandomAttributes(random))
                node.Attributes[attribute.Name] = attribute;
            if (random.Next(3) == 0)
                node.Metadata.Add(new(Name(random), Name(random)));
            values.Add(output);
        }
        values[^1].HasValueInfo = false;
        values[^1].Type ??= RandomType(random);
        graph.AddOutput(values[^1]);
        var model = new Model(graph) { ProducerName = Name(random), ModelVersion = random.Next(3) };
        model.Opsets[""] = random.Next(1, 25);
        return model;
    }

    private static IEnumerable<NodeAttribute> RandomAttributes(Random random)
    {
        if (random.Next(2) == 0)
            yield return NodeAttribute.Of("i", random.NextInt64());
        if (random.Next(2) == 0)
            yield return NodeAttribute.Of("f", random.NextSingle());
        if (random.Next(2) == 0)
            yield return NodeAttribute.Of("ints", [.. Enumerable.Range(0, random.Next(5)).Select(_ => random.NextInt64(-9, 9))]);
        if (random.Next(3) == 0)
            yield return NodeAttribute.Of("s", Name(random));
        if (random.Next(3) == 0)
            yield return NodeAttribute.Of("t", RandomTensor(random));
    }

    private static TensorType RandomType(Random random) => new(
        (ElementType)random.Next(1, 8),
        random.Next(5) == 0 ? null : [.. Enumerable.Range(0, random.Next(4)).Select(_ => random.Next(3) switch
        {
            0 => Dim.Symbol(Name(random)),
            1 => Dim.Unknown,
            _ => Dim.Of(random.Next(9)),
        })]);

    private static InMemoryTensor RandomTensor(Random random)
    {
        ElementType[] types = [ElementType.Float32, ElementType.Int64, ElementType.Float16, ElementType.Int4, ElementType.Bool, ElementType.Float64];
        var type = types[random.Next(types.Length)];
        long[] shape = [.. Enumerable.Range(0, random.Next(4)).Select(_ => (long)random.Next(12))];
        var bytes = new byte[type.ByteSize(shape.Aggregate(1L, (p, d) => p * d))];
        random.NextBytes(bytes);
        return new InMemoryTensor(type, shape, bytes);
    }

    private static string Name(Random random) => string.Concat(Enumerable.Range(0, random.Next(1, 5)).Select(_ => "ab/.é*"[random.Next(6)]));
}
