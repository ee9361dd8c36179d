using System.Runtime.InteropServices;

namespace SorsaOrt.Artifacts;

/// <summary>Named views of a flat buffer as safetensors: one F32 tensor per parameter.</summary>
public static class ParameterFile
{
    /// <summary>Writes one flat buffer, tensors named as the parameters.</summary>
    public static void Write(Stream stream, IReadOnlyList<TrainedParameter> parameters, FlatView flat) =>
        Write(stream, parameters, [("", flat)]);

    /// <summary>Writes several flat buffers of the same layout one after the other, each with a prefix on its names.</summary>
    public static void Write(Stream stream, IReadOnlyList<TrainedParameter> parameters, IReadOnlyList<(string Prefix, FlatView Flat)> buffers)
    {
        var writer = new SafetensorsWriter(stream,
            [.. buffers.SelectMany(b => parameters.Select(p => new SafetensorsDeclaration(b.Prefix + p.Name, SafetensorsType.F32, p.Shape)))]);
        foreach ((string prefix, FlatView flat) in buffers)
        {
            foreach (TrainedParameter parameter in parameters)
            {
                long count = parameter.ElementCount;
                for (long done = 0; done < count;)
                {
                    ReadOnlySpan<float> chunk = flat(parameter.Offset + done, (int)Math.Min(FlatBuffers.ChunkElements, count - done));
                    if (chunk.IsEmpty)
                        throw new InvalidOperationException($"the flat buffer ends inside {Text.Quote(parameter.Name)}.");
                    writer.Write(prefix + parameter.Name, chunk);
                    done += chunk.Length;
                }
            }
        }
        writer.Complete();
    }

    /// <summary>Streams the parameters' values, or those with a prefix on their names, to their places in a flat buffer.</summary>
    public static void Read(SafetensorsReader file, IReadOnlyList<TrainedParameter> parameters, FlatSink sink, string prefix = "")
    {
        foreach (TrainedParameter parameter in parameters)
        {
            SafetensorsEntry tensor = file[prefix + parameter.Name];
            for (long done = 0; done < tensor.ElementCount;)
            {
                int count = (int)Math.Min(FlatBuffers.ChunkElements, tensor.ElementCount - done);
                ReadOnlySpan<byte> bytes = file.Bytes(tensor, done * sizeof(float), count * sizeof(float));
                sink(parameter.Offset + done, MemoryMarshal.Cast<byte, float>(bytes));
                done += count;
            }
        }
    }

    /// <summary>The parameters' values, or those with a prefix on their names, as one flat buffer that lies in the file.</summary>
    public static FlatView View(SafetensorsReader file, IReadOnlyList<TrainedParameter> parameters, string prefix = "")
    {
        long[] starts = [.. parameters.Select(p => p.Offset)];
        return (offset, count) =>
        {
            int found = Array.BinarySearch(starts, offset);
            TrainedParameter parameter = parameters[found >= 0 ? found : ~found - 1];
            long within = offset - parameter.Offset;
            int taken = (int)Math.Min(count, parameter.ElementCount - within);
            return MemoryMarshal.Cast<byte, float>(file.Bytes(file[prefix + parameter.Name], within * sizeof(float), taken * sizeof(float)));
        };
    }

    /// <summary>Checks that the file holds exactly the parameters, with each prefix, as F32 of the right shapes.</summary>
    /// <exception cref="ArtifactMismatchException">It does not; the tensor is named.</exception>
    internal static void Check(SafetensorsReader file, IReadOnlyList<TrainedParameter> parameters, params ReadOnlySpan<string> prefixes)
    {
        foreach (string prefix in prefixes)
        {
            foreach (TrainedParameter parameter in parameters)
            {
                string name = prefix + parameter.Name;
                SafetensorsEntry? tensor = file.Contains(name) ? file[name] : null;
                if (tensor is null || tensor.Type != SafetensorsType.F32 || !tensor.Shape.SequenceEqual(parameter.Shape))
                {
                    string found = tensor is null ? "is missing" : $"is {tensor.Type} [{string.Join(',', tensor.Shape)}]";
                    throw new ArtifactMismatchException(file.Path, $"{Text.Quote(file.Path)}: tensor {Text.Quote(name)} {found}, the manifest asks for " +
                        $"F32 [{string.Join(',', parameter.Shape)}]; it belongs to other artifacts.");
                }
            }
        }
        if (file.Tensors.Count != parameters.Count * prefixes.Length)
            throw new ArtifactMismatchException(file.Path, $"{Text.Quote(file.Path)} holds {file.Tensors.Count} tensors instead of {parameters.Count * prefixes.Length}; it belongs to other artifacts.");
    }
}
