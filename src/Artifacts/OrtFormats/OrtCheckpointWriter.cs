using System.Runtime.InteropServices;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>AdamW's state on its way into an official checkpoint.</summary>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="InitialLearningRate">The rate the optimizer began with.</param>
/// <param name="FirstMoments">m, flat, laid out as the parameters.</param>
/// <param name="SecondMoments">v, flat.</param>
public sealed record OrtOptimizerValues(long Step, float InitialLearningRate, FlatView FirstMoments, FlatView SecondMoments);

/// <summary>Writes checkpoints of ONNX Runtime's official on-device training.</summary>
/// <remarks>The frozen weights are initializers of the models, so the file holds the trained parameters alone. The same values give the same bytes.</remarks>
public static class OrtCheckpointWriter
{
    /// <summary>Writes the parameters, and the optimizer's state where it has one.</summary>
    /// <param name="stream">Where to; stays the caller's.</param>
    /// <param name="parameters">Names and shapes, with their places in the flat buffers.</param>
    /// <param name="values">The parameters' values.</param>
    /// <param name="optimizer">The optimizer's state, or null before the first step.</param>
    /// <param name="properties">Texts by name that the file keeps too.</param>
    /// <exception cref="IOException">All of it takes more than the 2 GiB of a FlatBuffers file.</exception>
    public static void Write(Stream stream, IReadOnlyList<TrainedParameter> parameters, FlatView values, OrtOptimizerValues? optimizer = null,
        IReadOnlyDictionary<string, string>? properties = null)
    {
        var module = new FlatTable()
            .Tables(0, parameters.Select(p => Tensor(p.Name, p, values)))
            .Tables(1, []);
        var root = new FlatTable().Int(0, OrtCheckpointStructure.Version).Table(1, module);
        if (optimizer is not null)
            root.Tables(2, [Group(parameters, optimizer)]);
        if (properties is not null)
            root.Table(3, new FlatTable().Tables(0, []).Tables(1, []).Tables(2, properties.Select(p => new FlatTable().String(0, p.Key).String(1, p.Value))));
        FlatWriter.Write(stream, OrtCheckpointStructure.Identifier, root);
    }

    private static FlatTable Group(IReadOnlyList<TrainedParameter> parameters, OrtOptimizerValues optimizer) => new FlatTable()
        .String(0, OrtCheckpointStructure.Group)
        .Long(1, optimizer.Step)
        .Float(2, optimizer.InitialLearningRate)
        .Tables(3, parameters.Select(p => new FlatTable().String(0, p.Name).Tables(1,
        [
            Tensor(OrtCheckpointStructure.FirstMoment, p, optimizer.FirstMoments),
            Tensor(OrtCheckpointStructure.SecondMoment, p, optimizer.SecondMoments),
        ])));

    private static FlatTable Tensor(string name, TrainedParameter parameter, FlatView flat) => new FlatTable()
        .String(0, name)
        .Longs(2, parameter.Shape)
        .Int(3, OrtCheckpointStructure.Float32)
        .Blob(4, new FlatBlob(checked(parameter.ElementCount * sizeof(float)), stream => Copy(stream, parameter, flat)));

    private static void Copy(Stream stream, TrainedParameter parameter, FlatView flat)
    {
        for (long done = 0; done < parameter.ElementCount;)
        {
            var chunk = flat(parameter.Offset + done, (int)Math.Min(FlatBuffers.ChunkElements, parameter.ElementCount - done));
            stream.Write(MemoryMarshal.AsBytes(chunk));
            done += chunk.Length;
        }
    }
}
