namespace SorsaOrt.Artifacts;

/// <summary>Range checks of a manifest's numbers and names; all complaints together.</summary>
internal static class ManifestCheck
{
    private const int MostShown = 5;

    /// <summary>Throws with the first complaints, each naming its key.</summary>
    public static void Check(string path, Manifest manifest)
    {
        List<string> problems = [.. Problems(manifest).Take(MostShown)];
        if (problems.Count > 0)
        {
            throw new ArtifactMismatchException(path,
                $"{Text.Quote(path)} holds values that cannot be: {string.Join("; ", problems)}. Build the artifacts again.");
        }
    }

    /// <summary>Complaints about the entries of a folder's files.</summary>
    public static IEnumerable<string> FileProblems(IReadOnlyList<FileEntry> files)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (FileEntry file in files)
        {
            if (!RelativePath.IsInside(file.Path))
                yield return $"files: the path {Text.Quote(file.Path)} leaves the folder";
            else if (!seen.Add(file.Path))
                yield return $"files: {Text.Quote(file.Path)} stands twice";
            if (file.Size < 0)
                yield return $"files: size {file.Size} of {Text.Quote(file.Path)}";
            if (!IsSha256(file.Sha256))
                yield return $"files: sha256 of {Text.Quote(file.Path)}";
        }
    }

    private static IEnumerable<string> Problems(Manifest m)
    {
        (string Key, double Value, double Least)[] numbers =
        [
            ("rank", m.Rank, 0), ("alpha", m.Alpha ?? 1, 0), ("vocabulary_size", m.VocabularySize, 1), ("max_positions", m.MaxPositions ?? 1, 1),
            ("hidden_size", m.HiddenSize, 1), ("layers", m.Layers, 1), ("parameter_count", m.ParameterCount, 0), ("source.size", m.Source.Size, 0),
            ("source.opset", m.Source.Opset, 1), ("svd.iterations", m.Svd?.Iterations ?? 0, 0),
        ];
        foreach ((string key, double value, double least) in numbers)
        {
            if (!(value >= least && double.IsFinite(value)))
                yield return $"{key} is {value}, at least {least} is needed";
        }
        if (m.Dropout is not (null or >= 0 and < 1))
            yield return $"dropout is {m.Dropout}, from 0 to below 1 is needed";
        if (m.ComputeType is not (null or "f16" or "bf16"))
            yield return $"compute_type is {Text.Quote(m.ComputeType)}, f16 or bf16 is needed";
        if (!IsSha256(m.Source.Sha256))
            yield return "source.sha256 is not 64 hex digits";
        if (m.Source.ExternalFiles.Any(f => f.Size < 0 || (f.Sha256 is not null && !IsSha256(f.Sha256))))
            yield return "source.external_files holds a bad size or sha256";
        if (m.ExternalTensors.Any(t => t.Offset < 0 || t.Length < 0))
            yield return "external_tensors holds a negative offset or length";
        foreach (string problem in TargetProblems(m.Targets).Concat(ParameterProblems(m)).Concat(FileProblems(m.Files)))
            yield return problem;
    }

    private static IEnumerable<string> TargetProblems(IReadOnlyList<TargetWeight> targets)
    {
        var modules = new HashSet<string>(StringComparer.Ordinal);
        foreach (TargetWeight target in targets)
        {
            string name = $"target {Text.Quote(target.Module)}";
            if (!modules.Add(target.Module))
                yield return $"{name} stands twice";
            if (target.In < 1 || target.Out < 1)
                yield return $"{name}: in {target.In}, out {target.Out}";
            if (target.Rank < 0 || target.Rank > Math.Min(target.In, target.Out))
                yield return $"{name}: rank {target.Rank} is outside 0 to min(in, out)";
            if (!double.IsFinite(target.Scale))
                yield return $"{name}: scale {target.Scale}";
            if (target.SliceStart < 0)
                yield return $"{name}: slice_start {target.SliceStart}";
        }
    }

    private static IEnumerable<string> ParameterProblems(Manifest m)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var modules = m.Targets.Select(t => t.Module).ToHashSet(StringComparer.Ordinal);
        long end = 0;
        foreach (TrainedParameter parameter in m.Parameters)
        {
            string name = $"parameter {Text.Quote(parameter.Name)}";
            if (!names.Add(parameter.Name))
                yield return $"{name} stands twice";
            if (!modules.Contains(parameter.Module))
                yield return $"{name} belongs to {Text.Quote(parameter.Module)}, which is no target";
            long? count = ElementCount(parameter);
            if (count is null)
            {
                yield return $"{name}: shape [{string.Join(',', parameter.Shape)}]";
                continue;
            }
            if (parameter.Offset < end || parameter.Offset > m.ParameterCount || count > m.ParameterCount - parameter.Offset)
                yield return $"{name}: offset {parameter.Offset} overlaps the one before or leaves the {m.ParameterCount} elements of parameter_count";
            else
                end = parameter.Offset + count.Value;
        }
    }

    private static long? ElementCount(TrainedParameter parameter)
    {
        try
        {
            return parameter.Shape.All(d => d >= 1) ? parameter.ElementCount : null;
        }
        catch (OverflowException)
        {
            return null;
        }
    }

    private static bool IsSha256(string text) => text.Length == 64 && text.All(char.IsAsciiHexDigitLower);
}
