namespace SorsaOrt.Artifacts;

/// <summary>Writes one checkpoint; it appears as <c>step-N</c> only when complete, and takes the place of an older one of that step.</summary>
/// <remarks>Order: <see cref="WriteParameters"/>, <see cref="WriteMoments"/>, <see cref="Commit"/>. Values stream from the engine's flat buffers.</remarks>
public sealed class CheckpointWriter : IDisposable
{
    private readonly StagedFolder _folder;
    private readonly ArtifactSet _artifacts;
    private readonly long _step;

    internal CheckpointWriter(string path, ArtifactSet artifacts, long step)
    {
        _folder = new StagedFolder(path, force: true);
        _artifacts = artifacts;
        _step = step;
    }

    /// <summary>Where the checkpoint will stand.</summary>
    public string FinalPath => _folder.FinalPath;

    /// <summary>Writes the parameters, laid out as the manifest says.</summary>
    public void WriteParameters(FlatView flat)
    {
        using DigestStream stream = _folder.Create(CheckpointFiles.Parameters);
        ParameterFile.Write(stream, _artifacts.Manifest.Parameters, flat);
        stream.Complete();
    }

    /// <summary>Writes Adam's first and second moments, laid out as the parameters.</summary>
    public void WriteMoments(FlatView first, FlatView second)
    {
        using DigestStream stream = _folder.Create(CheckpointFiles.Optimizer);
        ParameterFile.Write(stream, _artifacts.Manifest.Parameters, [(CheckpointFiles.FirstMoment, first), (CheckpointFiles.SecondMoment, second)]);
        stream.Complete();
    }

    /// <summary>Writes a further file of the engine's own.</summary>
    public void WriteFile(string name, Action<Stream> write)
    {
        using DigestStream stream = _folder.Create(name);
        write(stream);
        stream.Complete();
    }

    /// <summary>Writes state.json and puts the checkpoint in its place. Flush the metrics log before it.</summary>
    /// <param name="state">Its version, manifest hash, step and files are filled in here.</param>
    public void Commit(CheckpointState state)
    {
        IReadOnlyList<FileEntry> files = _folder.Complete();
        foreach (string name in CheckpointFiles.Required)
        {
            if (!files.Any(f => f.Path == name))
                throw new InvalidOperationException($"{name} was not written.");
        }
        CheckpointState complete = state with
        {
            FormatVersion = CheckpointState.CurrentVersion,
            ManifestHash = _artifacts.Hash,
            Step = _step,
            Files = files,
        };
        _folder.Write(CheckpointFiles.State, SealedJson.Serialize(complete));
        _folder.Commit();
    }

    /// <inheritdoc/>
    public void Dispose() => _folder.Dispose();
}
