using System.Buffers;
using System.Text.Json;

namespace SorsaOrt.Artifacts;

/// <summary>metrics.jsonl of a run: one JSON object per line, appended; every line carries its step.</summary>
public sealed class MetricsLog : IDisposable
{
    private const int MaxLineBytes = 1 << 20;

    private readonly FileStream _file;
    private readonly ArrayBufferWriter<byte> _line = new();

    private MetricsLog(string path)
    {
        Path = path;
        _file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0);
    }

    /// <summary>Full path of the file.</summary>
    public string Path { get; }

    /// <summary>Opens the log to go on after a step: lines of later steps, torn lines and text that is no metrics line are cut out first. -1 begins anew.</summary>
    public static MetricsLog Open(string path, long lastStep)
    {
        string full = System.IO.Path.GetFullPath(path);
        if (File.Exists(full))
            Trim(full, lastStep);
        else
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(full)!);
        return new MetricsLog(full);
    }

    /// <summary>Appends a line; <paramref name="writeFields"/> writes the fields after <c>step</c>.</summary>
    public void Append(long step, Action<Utf8JsonWriter> writeFields)
    {
        _line.Clear();
        using (var json = new Utf8JsonWriter(_line))
        {
            json.WriteStartObject();
            json.WriteNumber("step", step);
            writeFields(json);
            json.WriteEndObject();
        }
        _line.Write("\n"u8);
        long before = _file.Length;
        try
        {
            _file.Write(_line.WrittenSpan);
        }
        catch (IOException e)
        {
            TakeBack(before);
            throw new IOException($"{Text.Quote(Path)} cannot be written: {e.Message} Check free space and permissions.", e);
        }
    }

    /// <summary>Makes all lines so far survive a power cut. Call it before a checkpoint of their steps is committed.</summary>
    public void Flush() => Posix.SyncFile(_file.SafeFileHandle, Path);

    /// <summary>The whole lines of a log in order; torn and foreign lines are passed over.</summary>
    public static IEnumerable<JsonElement> Read(string path)
    {
        foreach (ReadOnlyMemory<byte> line in Lines(path))
        {
            if (TryParse(line, out JsonElement value, out _))
                yield return value;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static void Trim(string path, long lastStep)
    {
        using var kept = new AtomicFile(path, force: true);
        foreach (ReadOnlyMemory<byte> line in Lines(path))
        {
            if (TryParse(line, out _, out long step) && step <= lastStep)
            {
                kept.Stream.Write(line.Span);
                kept.Stream.WriteByte((byte)'\n');
            }
        }
        kept.Commit();
    }

    private static bool TryParse(ReadOnlyMemory<byte> line, out JsonElement value, out long step)
    {
        value = default;
        step = 0;
        try
        {
            using var document = JsonDocument.Parse(line, new JsonDocumentOptions { MaxDepth = 8 });
            value = document.RootElement.Clone();
            return value.ValueKind == JsonValueKind.Object && value.TryGetProperty("step", out JsonElement number)
                && number.ValueKind == JsonValueKind.Number && number.TryGetInt64(out step);
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>Lines that end in a line feed, without it; longer ones than any metrics line are passed over.</summary>
    private static IEnumerable<ReadOnlyMemory<byte>> Lines(string path)
    {
        using FileStream file = RegularFile.OpenRead(path);
        var buffer = new byte[MaxLineBytes];
        int held = 0;
        bool tooLong = false;
        for (int read; (read = file.Read(buffer, held, buffer.Length - held)) > 0;)
        {
            held += read;
            int start = 0;
            for (int end; (end = Array.IndexOf(buffer, (byte)'\n', start, held - start)) >= 0; start = end + 1)
            {
                if (!tooLong)
                    yield return buffer.AsMemory(start, end - start);
                tooLong = false;
            }
            held -= start;
            Array.Copy(buffer, start, buffer, 0, held);
            if (held == buffer.Length)
            {
                tooLong = true;
                held = 0;
            }
        }
    }

    private void TakeBack(long length)
    {
        try
        {
            _file.SetLength(length);
        }
        catch (IOException)
        {
            // The torn line stays; Open cuts it out.
        }
    }
}
